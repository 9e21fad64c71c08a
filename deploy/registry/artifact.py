"""A bundle as an OCI artifact: a manifest whose layers are the bundle's files, each a blob of its own.

Files that two bundles share are one blob, so only what changed goes over the wire. The type is
``application/vnd.edge-rnn.bundle.v1``; the layers are named by ``org.opencontainers.image.title`` as
other tools for artifacts (ORAS) name them, so those can fetch a bundle too.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path, PurePosixPath

from deploy.registry.client import Registry
from edge_rnn.contract.bundle import MANIFEST, Bundle, open_bundle
from edge_rnn.contract.errors import RegistryError

ARTIFACT = "application/vnd.edge-rnn.bundle.v1"
LAYER = "application/vnd.edge-rnn.bundle.file.v1"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
EMPTY = "application/vnd.oci.empty.v1+json"
TITLE = "org.opencontainers.image.title"
SUFFIX = ".part"


def push_bundle(registry: Registry, bundle: Bundle) -> tuple[str, int]:
    """Push a bundle; returns the digest of its OCI manifest and the bundle's size in bytes."""
    layers = []
    for name in sorted({MANIFEST, *bundle.manifest.files}):
        data = (bundle.path / name).read_bytes()
        digest = registry.put_blob(data)
        layers.append({"mediaType": LAYER, "digest": digest, "size": len(data), "annotations": {TITLE: name}})
    empty = b"{}"
    config = {"mediaType": EMPTY, "digest": registry.put_blob(empty), "size": len(empty)}
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": ARTIFACT,
        "config": config,
        "layers": layers,
        "annotations": {"edge-rnn.bundle": f"{bundle.manifest.name}@sha256:{bundle.digest}"},
    }
    data = json.dumps(manifest, sort_keys=True, separators=(",", ":")).encode()
    return registry.put_manifest(data, OCI_MANIFEST), sum(int(str(layer["size"])) for layer in layers)


def pull_bundle(registry: Registry, digest: str, target: Path, *, seed: Path | None = None) -> int:
    """Fetch a bundle into ``target``, whole or not at all; returns the bytes that went over the wire.

    What an earlier attempt left beside ``target`` is used again. ``seed``: a directory of other bundles, whose
    files need not be fetched again. Raises `RegistryError`, `BundleError`.
    """
    manifest_bytes = registry.manifest(digest)
    layers = _layers(manifest_bytes, f"{registry.repository}@{digest}")
    draft = target.with_name(target.name + SUFFIX)
    draft.mkdir(parents=True, exist_ok=True)
    wire = len(manifest_bytes)
    for name, blob, size in layers:
        file = draft / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if not _seeded(file, name, size, blob, seed):
            wire += registry.fetch_blob(blob, size, file)
    open_bundle(draft)
    for path in [draft, *draft.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    os.sync()
    if target.exists():
        old = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
        target.replace(old / "old")
        shutil.rmtree(old, ignore_errors=True)
    draft.replace(target)
    return wire


def _layers(data: bytes, where: str) -> list[tuple[str, str, int]]:
    """Name, digest and size of every file of a bundle's manifest. Raises `RegistryError`."""
    try:
        manifest = json.loads(data)
        if manifest.get("artifactType") != ARTIFACT:
            raise RegistryError(f"{where} is a {manifest.get('artifactType')}, expected {ARTIFACT}")
        layers = [(str(one["annotations"][TITLE]), str(one["digest"]), int(one["size"])) for one in manifest["layers"]]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RegistryError(f"{where} is no bundle: {error!r}") from error
    for name, _, _ in layers:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or not name or "\\" in name:
            raise RegistryError(f"{where} names the file {name!r}, expected a name inside the bundle")
    return layers


def _seeded(file: Path, name: str, size: int, digest: str, seed: Path | None) -> bool:
    """Whether another bundle here has the same file; then it is linked."""
    from deploy.registry.client import file_digest

    if seed is None or file.exists():
        return False
    for candidate in seed.glob(f"*/{name}"):
        if candidate.is_file() and candidate.stat().st_size == size and file_digest(candidate) == digest:
            shutil.copyfile(candidate, file)
            return True
    return False
