"""Whether there is a GPU; with ``EDGE_RNN_GPU=1`` there has to be."""

from __future__ import annotations

import os
from typing import Any

import pytest

from edge_rnn.contract.errors import EdgeRnnError
from runtime.engines.cupy_device import import_cupy
from tests.daemon.conftest import bundle, embedded  # noqa: F401 (fixtures of the tests here)


@pytest.fixture(scope="session")
def cupy() -> Any:
    """CuPy with a GPU that it can use."""
    try:
        return import_cupy()
    except EdgeRnnError as error:
        if os.environ.get("EDGE_RNN_GPU"):
            raise
        pytest.skip(f"no GPU: {error}")
