"""A bundle: a directory with ``manifest.json``, the step graph and its golden vectors.

It is written whole or not at all and is read-only in use. Every file but the manifest is
listed there with its sha256.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from edge_rnn.contract.errors import BundleError
from edge_rnn.contract.signature import (
    InitialArray,
    Manifest,
    StateSpec,
    check_manifest,
    decode_manifest,
    encode_manifest,
)

MANIFEST = "manifest.json"
GRAPH = "step.onnx"
GOLDEN = "golden.npz"
INITIAL = "initial.npz"
"""First values of states that are not zero, and constants that are too large for the manifest."""


@dataclass(frozen=True)
class Bundle:
    """An opened bundle: its directory and what its manifest says."""

    path: Path
    manifest: Manifest

    @property
    def graph_path(self) -> Path:
        """The step graph's file."""
        return self.path / self.manifest.graph

    @property
    def golden_path(self) -> Path:
        """The golden vectors' file."""
        return self.path / GOLDEN

    @property
    def digest(self) -> str:
        """Hex sha256 of the manifest as encoded, which names every file's own digest."""
        return hashlib.sha256(encode_manifest(self.manifest)).hexdigest()

    def initial_state(self, spec: StateSpec) -> np.ndarray:
        """One stream's first value of a state: ``dtype[*row_shape]``."""
        if spec.initial == "zeros":
            return np.zeros(spec.row_shape, spec.dtype)
        value = self._array(spec.initial, f"the first value of state {spec.name!r}")
        if value.shape != spec.row_shape or value.dtype != np.dtype(spec.dtype):
            raise BundleError(
                f"{self.path}: the first value of state {spec.name!r} is {value.dtype}{list(value.shape)},"
                f" expected {spec.dtype}{list(spec.row_shape)}; export the bundle again"
            )
        return value

    def constants(self) -> dict[str, np.ndarray]:
        """The value of each constant input, of one stream where it has a batch axis."""
        values: dict[str, np.ndarray] = {}
        for spec in self.manifest.constants:
            kept = spec.value
            if isinstance(kept, InitialArray):
                values[spec.name] = self._array(kept, f"the constant {spec.name!r}").astype(spec.dtype)
            else:
                values[spec.name] = np.asarray(kept, spec.dtype)
        return values

    def _array(self, kept: InitialArray, what: str) -> np.ndarray:
        try:
            with np.load(self.path / kept.file, allow_pickle=False) as arrays:
                return np.asarray(arrays[kept.array])
        except (OSError, KeyError, ValueError) as error:
            raise BundleError(f"{self.path}: {what} cannot be read from {kept.file}: {error}") from error


def open_bundle(path: Path | str, *, check_files: bool = True) -> Bundle:
    """Open a bundle and, unless told otherwise, compare every file with its digest.

    Raises `BundleError` naming the file that is missing or altered.
    """
    path = Path(path)
    manifest_path = path / MANIFEST
    try:
        data = manifest_path.read_bytes()
    except FileNotFoundError:
        what = "does not exist" if not path.exists() else f"has no {MANIFEST}"
        raise BundleError(f"{path} {what}; give the directory that `edge-rnn export -o` wrote") from None
    except OSError as error:
        raise BundleError(f"{manifest_path} cannot be read: {error.strerror}") from error
    manifest = decode_manifest(data, str(manifest_path))
    if check_files:
        for name, digest in manifest.files.items():
            found = f"sha256:{_sha256(_inside(path, name))}"
            if found != digest:
                raise BundleError(
                    f"{path / name} was altered: found {found[:23]}…, the manifest says {digest[:23]}…;"
                    " export the bundle again or fetch it anew"
                )
    return Bundle(path, manifest)


def write_bundle(path: Path | str, manifest: Manifest, files: Mapping[str, bytes]) -> Bundle:
    """Write a bundle whole: into a temporary directory beside it, then renamed into place.

    ``manifest.files`` is filled in from ``files``. An existing bundle is replaced; any other
    existing path is refused with `BundleError`.
    """
    path = Path(path)
    if path.exists() and not ((path / MANIFEST).is_file() or (path.is_dir() and not any(path.iterdir()))):
        raise BundleError(f"{path} exists and is not a bundle; give another output or remove it")
    digests = {name: f"sha256:{hashlib.sha256(data).hexdigest()}" for name, data in sorted(files.items())}
    manifest = msgspec.structs.replace(manifest, files=digests)
    check_manifest(manifest, str(path / MANIFEST))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    except OSError as error:
        raise BundleError(f"{path} cannot be written: {error.strerror}; give another output") from error
    try:
        for name, data in {**files, MANIFEST: encode_manifest(manifest)}.items():
            (draft / name).write_bytes(data)
        draft.chmod(0o755)
        if path.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{path.name}-old-", dir=path.parent))
            path.replace(old / path.name)
            try:
                draft.replace(path)
            except BaseException:
                (old / path.name).replace(path)
                raise
            finally:
                shutil.rmtree(old, ignore_errors=True)
        else:
            draft.replace(path)
    except OSError as error:
        shutil.rmtree(draft, ignore_errors=True)
        raise BundleError(f"{path} cannot be written: {error.strerror}; free space or give another output") from error
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return Bundle(path, manifest)


def _inside(path: Path, name: str) -> Path:
    file = path / name
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise BundleError(f"{path / MANIFEST} names the file {name!r}, expected a name inside the bundle")
    return file


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BundleError(
            f"{path} cannot be read: {error.strerror}; export the bundle again or fetch it anew"
        ) from error
