"""Images and bundle into a registry, and the release that names them by digest."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import msgspec

from deploy.images.build import BUILT, Build, Built
from deploy.images.engine import Engine
from deploy.registry.artifact import OCI_MANIFEST, push_bundle
from deploy.registry.client import Registry, login_for
from deploy.release.release import RELEASE, SIGNATURE, BundleRef, ImageRef, Release, encode_release
from deploy.release.signing import sign_release
from edge_rnn.contract.bundle import open_bundle
from edge_rnn.contract.errors import BuildFailed, RegistryError, UsageError


def read_build(folder: Path) -> Build:
    """What ``deploy build`` left in a directory. Raises `UsageError`."""
    try:
        return msgspec.json.decode((folder / BUILT).read_bytes(), type=Build)
    except (OSError, msgspec.DecodeError) as error:
        raise UsageError(
            f"{folder / BUILT} cannot be read: {error}; give what edge-rnn deploy build -o wrote"
        ) from error


def push_build(
    engine: Engine, folder: Path, repository: str, *, key: Path | None, insecure: bool, auth: bytes = b""
) -> tuple[Release, Path]:
    """Push all of a build and write (and sign) ``release.json`` beside it; returns the release and its file.

    ``auth`` is the engine's login file. Raises `RegistryError`, `BuildFailed`, `UsageError`.
    """
    build = read_build(folder)
    bundle = open_bundle(build.bundle)
    if f"sha256:{bundle.digest}" != build.bundle_digest:
        raise BuildFailed(f"{build.bundle} has changed since it was built into images; build again")
    login = login_for(auth, repository.partition("/")[0])
    registry = Registry(repository, login, insecure)
    artifact, size = push_bundle(registry, bundle)
    images = tuple(push_image(engine, image, registry, insecure=insecure) for image in build.images)
    release = Release(
        app=build.app,
        bundle=BundleRef(name=bundle.manifest.name, digest=build.bundle_digest, artifact=artifact, bytes=size),
        images=images,
        version=build.version,
        revision=build.revision,
    )
    path = folder / RELEASE
    path.write_bytes(encode_release(release))
    (folder / SIGNATURE).unlink(missing_ok=True)
    if key is not None:
        sign_release(folder, key)
    return release, path


def push_words(kind: str, source: str, target: str, digest_file: Path, *, insecure: bool) -> list[str]:
    """Words that push an image, as a pure function."""
    if kind == "docker":
        return ["push", "--quiet", target]
    tls = f"--tls-verify={'false' if insecure else 'true'}"
    return ["push", "--quiet", tls, "--format", "oci", "--digestfile", str(digest_file), source, f"docker://{target}"]


def push_image(engine: Engine, image: Built, registry: Registry, *, insecure: bool) -> ImageRef:
    """Push one image and ask the registry what it has become: digest and compressed size."""
    target = f"{registry.repository}:{image.target}-{image.arch}-{image.id.removeprefix('sha256:')[:12]}"
    with tempfile.TemporaryDirectory(prefix="edge-rnn-push-") as folder:
        digest_file = Path(folder) / "digest"
        if engine.kind == "docker":
            engine.call("tag", image.id, target)
        engine.call(*push_words(engine.kind, image.id, target, digest_file, insecure=insecure))
        if engine.kind == "docker":
            found = json.loads(engine.call("image", "inspect", target).stdout)[0]["RepoDigests"]
            digest = next(one.rpartition("@")[2] for one in found if one.startswith(registry.repository))
        else:
            digest = digest_file.read_text().strip()
    manifest = json.loads(registry.manifest(digest))
    if manifest.get("mediaType", OCI_MANIFEST) != OCI_MANIFEST and "layers" not in manifest:
        raise RegistryError(f"{target} is a {manifest.get('mediaType')}, expected an image")
    return ImageRef(
        target=image.target,
        arch=image.arch,
        digest=digest,
        config=manifest["config"]["digest"],
        bytes=sum(layer["size"] for layer in manifest["layers"]),
        holds_bundle=image.holds_bundle,
    )
