"""Builds an image from a bundle: look at the base, stage, check the plan, list the parts, build."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

import edge_rnn
from deploy.images.base import Base, look_at_base
from deploy.images.bytecode import compile_here, stage_library
from deploy.images.engine import Engine, build_words, remedy
from deploy.images.plan import Plan, containerfile, locked_versions, problems
from deploy.images.sbom import write_sbom
from deploy.images.stage import (
    DISTRIBUTION,
    settle_modes,
    stage_bundle,
    stage_code,
    stage_packages,
)
from deploy.images.targets import SITE, TARGETS, Arch, Target
from edge_rnn.contract.bundle import Bundle
from edge_rnn.contract.errors import BuildFailed, UsageError
from edge_rnn.contract.fingerprint import state_fingerprint

BUILT = "built.json"

_NO_BYTECODE = "no bytecode, starts are slower: the base has another Python than this one that builds"


class Built(msgspec.Struct, frozen=True, kw_only=True):
    """One image in the engine's storage. ``id``: its configuration's digest; ``notes``: what to know of it."""

    target: Target
    arch: Arch
    id: str
    tag: str
    base: str
    base_digest: str
    holds_bundle: bool
    tested: bool
    parts: int
    notes: tuple[str, ...] = ()


class Build(msgspec.Struct, frozen=True, kw_only=True):
    """What ``deploy build`` leaves for ``deploy push``."""

    app: str
    bundle: str
    bundle_digest: str
    version: str
    revision: str
    images: tuple[Built, ...]


@dataclass(frozen=True)
class Wanted:
    """What the command was asked for."""

    app: str
    target: Target
    arches: Sequence[Arch]
    bases: Sequence[str] = ()
    wheels: Sequence[Path] = ()
    with_bundle: bool = True
    keep_plan: Path | None = None


def build_images(engine: Engine, bundle: Bundle, wanted: Wanted, *, only_plan: bool = False) -> Build:
    """Build an image for each architecture. Raises `BuildFailed` naming all that does not hold in a plan."""
    spec = TARGETS[wanted.target]
    images: list[Built] = []
    for number, arch in enumerate(wanted.arches):
        reference = wanted.bases[min(number, len(wanted.bases) - 1)] if wanted.bases else spec.default_base
        if reference is None:
            raise UsageError(
                f"--target {spec.name} has no base of its own; give --base IMAGE@sha256:... of its JetPack"
            )
        base = look_at_base(engine, reference, arch)
        plan = plan_of(wanted, arch, base, bundle)
        found = problems(plan)
        if found:
            raise BuildFailed(f"the plan for {spec.name}/{arch} does not hold: {'; '.join(found)}")
        try:
            images.append(_build_one(engine, bundle, wanted, plan, base, only_plan=only_plan))
        except OSError as error:
            raise BuildFailed(f"the image cannot be put together: {error}{remedy(str(error))}") from error
    return Build(
        app=wanted.app,
        bundle=str(bundle.path.resolve()),
        bundle_digest=f"sha256:{bundle.digest}",
        version=importlib.metadata.version(DISTRIBUTION),
        revision=revision(),
        images=tuple(images),
    )


def on_runtime(runtime: Build, bundle: Bundle) -> Build:
    """The images of an earlier build, which hold no bundle, for this one, which travels alone. Raises `UsageError`."""
    full = [f"{image.target}/{image.arch}" for image in runtime.images if image.holds_bundle]
    if full:
        raise UsageError(f"the images for {' and '.join(full)} hold a bundle; build them with --without-bundle")
    return msgspec.structs.replace(runtime, bundle=str(bundle.path.resolve()), bundle_digest=f"sha256:{bundle.digest}")


def plan_of(wanted: Wanted, arch: Arch, base: Base, bundle: Bundle) -> Plan:
    """Everything that decides what the image is."""
    spec = TARGETS[wanted.target]
    locked = locked_versions(spec.lock.read_text(), base.python, arch)
    cuda = base.cuda_major or _cuda_of(locked) if spec.cuda_majors else None
    labels = {
        "org.opencontainers.image.title": wanted.app,
        "org.opencontainers.image.version": importlib.metadata.version(DISTRIBUTION),
        "org.opencontainers.image.revision": revision(),
        "org.opencontainers.image.base.name": base.reference.partition("@")[0],
        "org.opencontainers.image.base.digest": base.digest,
        "edge-rnn.target": spec.name,
        "edge-rnn.lock": f"sha256:{hashlib.sha256(spec.lock.read_bytes()).hexdigest()}",
        "edge-rnn.wheels": " ".join(sorted(wheel.name for wheel in wanted.wheels)),
        "edge-rnn.tested": "yes" if spec.tested else "untested on such a device",
    }
    if wanted.with_bundle:
        labels["edge-rnn.bundle"] = f"{bundle.manifest.name}@sha256:{bundle.digest}"
        labels["edge-rnn.fingerprint"] = state_fingerprint(bundle.manifest, {}).hex()
    return Plan(
        target=spec,
        arch=arch,
        base=base.reference,
        base_digest=base.digest,
        python=base.python,
        cuda_major=cuda,
        locked=locked,
        wheels=[wheel.name for wheel in wanted.wheels],
        with_bundle=wanted.with_bundle,
        labels=labels,
    )


def _cuda_of(locked: dict[str, str]) -> int | None:
    for name in locked:
        major = name.rpartition("-cu")[2]
        if name.startswith("nvidia-") and major.isdigit():
            return int(major)
    return None


def _build_one(engine: Engine, bundle: Bundle, wanted: Wanted, plan: Plan, base: Base, *, only_plan: bool) -> Built:
    tag = f"localhost/edge-rnn/{wanted.app}:{plan.target.name}-{plan.arch}"
    with tempfile.TemporaryDirectory(prefix="edge-rnn-build-") as folder:
        context = Path(folder) / "context"
        context.mkdir()
        site, code = context / "site", context / "code"
        stage_packages(plan.target, plan.arch, plan.python, wanted.wheels, site)
        _check_libraries(plan, site)
        stage_code(code)
        if plan.with_bundle:
            stage_bundle(bundle, context / "bundle")
        notes = [] if compile_here([site, code], plan.python) else [_NO_BYTECODE]
        if stage_library(engine, base, context / "library"):
            plan = replace(plan, library=base.library)
        (context / "lock.txt").unlink(missing_ok=True)
        version = importlib.metadata.version(DISTRIBUTION)
        parts = write_sbom(
            context / "sbom.cdx.json", wanted.app, version, base, site, bundle if plan.with_bundle else None
        )
        (context / "Containerfile").write_text(containerfile(plan))
        settle_modes(context)
        if wanted.keep_plan is not None:
            keep = wanted.keep_plan / f"{plan.target.name}-{plan.arch}"
            keep.mkdir(parents=True, exist_ok=True)
            for name in ("Containerfile", "sbom.cdx.json"):
                shutil.copyfile(context / name, keep / name)
        identity = "" if only_plan else _call_engine(engine, context, plan, tag, Path(folder) / "id")
    if not plan.target.tested:
        notes.append("untested: it has not run on such a device")
    return Built(
        target=plan.target.name,
        arch=plan.arch,
        id=identity,
        tag=tag,
        base=plan.base,
        base_digest=plan.base_digest,
        holds_bundle=plan.with_bundle,
        tested=plan.target.tested,
        parts=parts,
        notes=tuple(notes),
    )


def _check_libraries(plan: Plan, site: Path) -> None:
    """Raise `BuildFailed` where ``LD_LIBRARY_PATH`` names a directory of the packages that holds no library."""
    for path in plan.target.library_path(plan.cuda_major).split(":"):
        inside = path.removeprefix(f"{SITE}/")
        if path and inside != path and not list((site / inside).glob("*.so*")):
            raise BuildFailed(f"the plan for {plan.target.name} names {path}, but the packages put no library there")


def _call_engine(engine: Engine, context: Path, plan: Plan, tag: str, id_file: Path) -> str:
    engine.call(*build_words(engine.kind, context, plan.arch, tag, id_file))
    if id_file.exists() and id_file.read_text().strip():
        identity = id_file.read_text().strip()
    else:
        identity = json.loads(engine.call("image", "inspect", tag).stdout)[0]["Id"]
    return identity if identity.startswith("sha256:") else f"sha256:{identity}"


def revision() -> str:
    """The git revision of this installation, with ``-dirty`` where files differ; ``unknown`` outside a checkout."""
    home = Path(edge_rnn.__file__).resolve().parent.parent
    if not (home / ".git").exists():
        return "unknown"
    words = ["git", "-C", str(home), "describe", "--always", "--abbrev=40", "--dirty", "--match", ""]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"
