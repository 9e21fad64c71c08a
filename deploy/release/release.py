"""A release: one bundle and the images that run it, all by digest. Its file is what is signed."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

import msgspec

from deploy.fleet.fields import DIGEST, NAME, REPOSITORY, check_field
from edge_rnn.contract.errors import ReleaseRefused, UsageError

FORMAT = 1
RELEASE = "release.json"
SIGNATURE = "release.sig"


class ImageRef(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An image for one kind of device. ``digest`` is its manifest's, ``config`` its configuration's (its id)."""

    target: Literal["cpu", "cuda", "jetson"]
    arch: Literal["amd64", "arm64"]
    digest: str
    config: str
    bytes: int = 0
    """Compressed size of all layers."""
    holds_bundle: bool = True
    """Whether the bundle is the image's last layer; else devices pull it alone and mount it."""


class BundleRef(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A bundle: ``digest`` is that of its manifest file, ``artifact`` that of its OCI manifest."""

    name: str
    digest: str
    artifact: str
    bytes: int = 0


class Release(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a device may run, and nothing else."""

    format: int = FORMAT
    app: str
    bundle: BundleRef
    images: tuple[ImageRef, ...]
    version: str
    """Of this distribution."""
    revision: str = "unknown"
    """Git revision that the runtime was built from."""

    def image_for(self, target: str, arch: str) -> ImageRef:
        """The image of that kind. Raises `UsageError` naming the kinds there are."""
        for image in self.images:
            if (image.target, image.arch) == (target, arch):
                return image
        kinds = ", ".join(f"{image.target}/{image.arch}" for image in self.images)
        raise UsageError(f"the release has no image for {target}/{arch}; it has {kinds}; build it with --target --arch")


def encode_release(release: Release) -> bytes:
    """The file's contents; the same bytes for the same release."""
    return msgspec.json.format(msgspec.json.encode(release, order="sorted"), indent=1) + b"\n"


def release_id(data: bytes) -> str:
    """``sha256:`` digest of the release's file: the name by which devices and audits know it."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def parse_release(data: bytes, where: str = RELEASE) -> Release:
    """Parse and check a release. Raises `ReleaseRefused` naming what is wrong."""
    try:
        release = msgspec.json.decode(data, type=Release)
        if release.format != FORMAT:
            raise ReleaseRefused(f"{where} has format {release.format}, expected {FORMAT}; use a matching edge-rnn")
        check_field(release.app, NAME, f"{where}: app")
        digests = [release.bundle.digest, release.bundle.artifact]
        for image in release.images:
            digests += [image.digest, image.config]
        for digest in digests:
            check_field(digest, DIGEST, f"{where}: a digest")
    except (msgspec.DecodeError, UsageError) as error:
        raise ReleaseRefused(f"{where} is no release: {error}; make one with edge-rnn deploy push") from error
    if not release.images:
        raise ReleaseRefused(f"{where} names no image; make one with edge-rnn deploy push")
    return release


def load_release(folder: Path) -> tuple[Release, bytes]:
    """The release in a directory (or the file itself) and the bytes that its signature is about."""
    path = folder / RELEASE if folder.is_dir() else folder
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}; give what edge-rnn deploy push wrote") from error
    return parse_release(data, str(path)), data


def image_name(repository: str, image: ImageRef) -> str:
    """``REPOSITORY@sha256:...``: an image is never named by a tag on a device."""
    return f"{check_field(repository, REPOSITORY, 'the repository')}@{image.digest}"
