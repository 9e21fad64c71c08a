"""The voice detector of the silero-vad package as a bundle, and one small framed model, once a session."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_rnn.contract.bundle import Bundle
from tests.daemon.conftest import place  # noqa: F401 (a fixture)
from tests.exporters.foreign.packages import FILES, installed_path
from tests.exporters.foreign.plain import import_file


@pytest.fixture(scope="session")
def vad(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """silero-vad at 16 kHz: hop 512, context 64."""
    return import_file(installed_path(FILES[0]), FILES[0], tmp_path_factory.mktemp("vad") / "vad").bundle


@pytest.fixture(scope="session")
def vad_file() -> Path:
    """The ONNX file itself."""
    return installed_path(FILES[0])
