"""Files that come inside packages: imported, and equal to a plain loop over the file, bit for bit."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.exporters.foreign.packages import INSTALLED, File, installed_path
from tests.exporters.foreign.plain import import_file, same_bits


@pytest.mark.parametrize("file", INSTALLED, ids=lambda file: file.title)
def test_import_of_a_packaged_file_gives_every_bit_of_a_plain_loop(file: File, tmp_path: Path) -> None:
    path = installed_path(file)
    imported = import_file(path, file, tmp_path / "b")
    manifest = imported.bundle.manifest
    assert manifest.framing is not None
    assert manifest.framing.width == manifest.width
    assert manifest.states
    assert manifest.outputs[0].kind == "probabilities"
    assert same_bits(path, imported)
