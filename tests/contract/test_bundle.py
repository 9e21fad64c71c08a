from __future__ import annotations

from pathlib import Path

import pytest

from edge_rnn.contract.bundle import open_bundle
from edge_rnn.contract.errors import BundleError
from tests.contract.bundles import MANIFEST, write


def test_bundle_written_and_opened_is_the_same(tmp_path: Path) -> None:
    written = write(tmp_path / "b")
    opened = open_bundle(tmp_path / "b")
    assert opened == written
    assert opened.digest == written.digest
    assert opened.manifest.name == MANIFEST.name
    assert sorted(opened.manifest.files) == ["golden.npz", "step.onnx"]


@pytest.mark.parametrize("name", ["step.onnx", "golden.npz"])
def test_open_bundle_when_a_file_is_altered_names_it(tmp_path: Path, name: str) -> None:
    write(tmp_path / "b")
    file = tmp_path / "b" / name
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(bytes(data))
    with pytest.raises(BundleError, match=rf"{name} was altered: found sha256:.*the manifest says sha256:"):
        open_bundle(tmp_path / "b")


def test_open_bundle_when_a_file_is_missing_names_it(tmp_path: Path) -> None:
    write(tmp_path / "b")
    (tmp_path / "b" / "golden.npz").unlink()
    with pytest.raises(BundleError, match=r"golden\.npz cannot be read: No such file"):
        open_bundle(tmp_path / "b")


@pytest.mark.parametrize(("make", "told"), [(False, "does not exist"), (True, r"has no manifest\.json")])
def test_open_bundle_when_there_is_none_says_what_to_give(tmp_path: Path, make: bool, told: str) -> None:
    if make:
        (tmp_path / "b").mkdir()
    with pytest.raises(BundleError, match=told):
        open_bundle(tmp_path / "b")


def test_open_bundle_when_the_manifest_names_a_file_outside_refuses(tmp_path: Path) -> None:
    write(tmp_path / "b")
    manifest = tmp_path / "b" / "manifest.json"
    manifest.write_bytes(manifest.read_bytes().replace(b'"golden.npz"', b'"../golden.npz"'))
    with pytest.raises(BundleError, match="expected a name inside the bundle"):
        open_bundle(tmp_path / "b")


def test_write_bundle_over_a_bundle_replaces_it_whole(tmp_path: Path) -> None:
    write(tmp_path / "b", extra=b"1")
    write(tmp_path / "b", graph=b"other")
    assert sorted(file.name for file in (tmp_path / "b").iterdir()) == ["golden.npz", "manifest.json", "step.onnx"]
    assert (tmp_path / "b" / "step.onnx").read_bytes() == b"other"
    assert [file.name for file in tmp_path.iterdir()] == ["b"]


def test_write_bundle_when_writing_fails_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = write(tmp_path / "b")
    original = Path.write_bytes

    def full(self: Path, data: bytes) -> int:
        if self.name == "manifest.json":
            raise OSError(28, "No space left on device")
        return original(self, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(BundleError, match="cannot be written: No space left on device"):
        write(tmp_path / "b", graph=b"other")
    monkeypatch.undo()
    assert open_bundle(tmp_path / "b") == before
    assert [file.name for file in tmp_path.iterdir()] == ["b"]


def test_write_bundle_over_anything_else_refuses(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "thesis.tex").write_text("years of work")
    with pytest.raises(BundleError, match="exists and is not a bundle"):
        write(tmp_path / "b")
    assert (tmp_path / "b" / "thesis.tex").read_text() == "years of work"
