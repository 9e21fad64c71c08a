"""A release as it goes to devices: read, its signature checked, with what devices that reach no registry need."""

from __future__ import annotations

import gzip
import io
import shutil
import subprocess
import tarfile
import tempfile
import threading
import weakref
from collections.abc import Mapping
from pathlib import Path

from deploy.fleet.inventory import Device, Fleet
from deploy.registry.client import login_file
from deploy.release.push import read_build
from deploy.release.release import ImageRef, image_name, load_release, release_id
from deploy.release.signing import Signature, read_key, verify_release
from deploy.rollout.site import Shipment
from edge_rnn.contract.bundle import MANIFEST, open_bundle
from edge_rnn.contract.errors import RegistryError, ReleaseRefused, UsageError

LEVEL = 4
"""Of gzip; beyond, it takes the operator's machine longer than it saves."""


def load_shipment(
    path: Path, fleet: Fleet, devices: tuple[Device, ...], key: Path | None, environment: Mapping[str, str]
) -> Shipment:
    """Read a release and check it against the fleet, before anything is sent.

    Raises `ReleaseRefused` for one that is unsigned, altered or of another application, `UsageError`
    for one that has no image for a kind of device.
    """
    release, data = load_release(path)
    folder = path if path.is_dir() else path.parent
    if release.app != fleet.app.name:
        raise ReleaseRefused(f"{path} is a release of {release.app}, the fleet runs {fleet.app.name}")
    signature: Signature | None = None
    pem = digest = None
    if key is not None:
        pem, digest = read_key(key)
        signature = verify_release(folder, key)
    for device in devices:
        release.image_for(device.accelerator, device.arch)
    archives = _Archives(fleet)
    return Shipment(
        release=release,
        data=data,
        id=release_id(data),
        path=folder,
        signature=signature,
        key_pem=pem,
        key_digest=digest,
        login=login_file(environment),
        archive=archives.archive,
        bundle_tar=lambda: bundle_tar(folder, release.bundle.digest),
    )


def bundle_tar(folder: Path, digest: str) -> bytes:
    """The bundle that a release was made from, as tar; it must still be the one. Raises `ReleaseRefused`."""
    bundle = open_bundle(read_build(folder).bundle)
    if f"sha256:{bundle.digest}" != digest:
        raise ReleaseRefused(f"{bundle.path} is not the bundle of the release any more; build and push again")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in sorted({MANIFEST, *bundle.manifest.files}):
            archive.add(bundle.path / name, name)
    return buffer.getvalue()


class _Archives:
    """Images as files for devices that reach no registry; each is fetched once, by skopeo, with its digest kept.

    Devices ask for them at the same time, from threads of their own.
    """

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._folder: Path | None = None
        self._made: dict[str, Path] = {}
        self._mutex = threading.Lock()

    def archive(self, image: ImageRef) -> Path:
        """An archive in docker's format, which podman and docker load, compressed as it goes over the wire."""
        if self._fleet.app.repository is None:
            raise UsageError("app.repository is not given: it is where the images for devices over ssh come from")
        with self._mutex:
            if image.digest not in self._made:
                self._made[image.digest] = self._fetch(image, self._fleet.app.repository)
            return self._made[image.digest]

    def _fetch(self, image: ImageRef, repository: str) -> Path:
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="edge-rnn-archives-"))
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        path = self._folder / f"{image.config.removeprefix('sha256:')}.tar"
        packed = path.with_name(f"{path.name}.gz")
        tls = f"--src-tls-verify={'false' if self._fleet.app.insecure_registry else 'true'}"
        source = f"docker://{image_name(repository, image)}"
        words = ["skopeo", "copy", "--quiet", tls, source, f"docker-archive:{path}"]
        try:
            done = subprocess.run(words, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            raise UsageError("skopeo is not installed; it fetches images for devices over ssh") from None
        if done.returncode:
            raise RegistryError(f"{source} cannot be fetched: {done.stderr.strip().splitlines()[-1:]}")
        try:
            with path.open("rb") as plain, gzip.open(packed, "wb", compresslevel=LEVEL) as file:
                shutil.copyfileobj(plain, file, 1 << 20)
        except OSError as error:
            raise RegistryError(f"the image for devices over ssh cannot be kept: {error}; set TMPDIR") from error
        path.unlink()
        return packed
