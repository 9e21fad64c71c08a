"""The build context: packages for the target's platform, our code, the bundle; written by this machine, run by none.

Wheels are unpacked for another architecture without running anything of it, so an image for arm64
is built on amd64 in seconds.
"""

from __future__ import annotations

import importlib.metadata
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import edge_rnn
from deploy.images.engine import remedy
from deploy.images.targets import MACHINE, TargetSpec
from edge_rnn.contract.bundle import Bundle
from edge_rnn.contract.errors import BuildFailed, MissingDependency

OURS = ("edge_rnn", "exporters", "runtime", "deploy")
DISTRIBUTION = "edge-rnn"


def stage_packages(spec: TargetSpec, arch: str, python: tuple[int, int], wheels: Sequence[Path], to: Path) -> None:
    """Unpack the locked packages (by hash) and the given wheels into ``to``. Raises `BuildFailed`."""
    uv = _uv()
    replaced = {wheel.name.split("-")[0].replace("_", "-").lower() for wheel in wheels}
    if spec.needs_wheel:
        replaced.add("onnxruntime")  # the wheel given brings the same files
    lock = to.parent / "lock.txt"
    lock.write_text(_without(spec.lock.read_text(), replaced))
    common = ["--quiet", "--target", str(to), "--python-version", f"{python[0]}.{python[1]}", "--no-compile"]
    platform = ["--python-platform", f"{MACHINE[arch]}-manylinux_2_28", "--only-binary", ":all:"]
    _install(uv, [*common, *platform, "--require-hashes", "-r", str(lock)])
    for wheel in wheels:
        _install(uv, [*common, *platform, "--no-deps", str(wheel)])
    for leftover in ("bin", ".lock"):
        path = to / leftover
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    for name in ("direct_url.json", "uv_cache.json", "REQUESTED", "INSTALLER"):
        for path in to.glob(f"*.dist-info/{name}"):
            path.unlink()


def stage_code(to: Path) -> None:
    """Our packages as they run here, and enough of the distribution's metadata to know its version."""
    home = Path(edge_rnn.__file__).resolve().parent.parent
    for name in OURS:
        shutil.copytree(home / name, to / name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc", "*.so", "native"))
    distribution = importlib.metadata.distribution(DISTRIBUTION)
    info = to / f"edge_rnn-{distribution.version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(distribution.read_text("METADATA") or distribution.read_text("PKG-INFO") or "")
    (info / "entry_points.txt").write_text(distribution.read_text("entry_points.txt") or "")


def stage_bundle(bundle: Bundle, to: Path) -> None:
    """The files that the manifest names, and the manifest."""
    to.mkdir()
    for name in sorted({"manifest.json", *bundle.manifest.files}):
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(bundle.path / name, to / name)


def settle_modes(root: Path) -> None:
    """The same modes whatever the operator's umask: directories 755, files 644."""
    for path in [root, *root.rglob("*")]:
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() else 0o644)


def _without(lock: str, names: set[str]) -> str:
    """The lock without the blocks of these packages."""
    kept, skipping = [], False
    for line in lock.splitlines():
        if line and not line.startswith((" ", "#")):
            skipping = line.split("=")[0].split("[")[0].strip().lower() in names
        if not skipping:
            kept.append(line)
    return "\n".join(kept) + "\n"


def _uv() -> str:
    beside = Path(sys.executable).with_name("uv")
    found = str(beside) if beside.exists() else shutil.which("uv")
    if found is None:
        raise MissingDependency("building images needs uv, which unpacks wheels: pip install 'edge-rnn[deploy]'")
    return found


def _install(uv: str, words: list[str]) -> None:
    done = subprocess.run([uv, "pip", "install", *words], capture_output=True, text=True, check=False, timeout=1800)
    if done.returncode:
        said = " ".join(done.stderr.split()[-60:])
        raise BuildFailed(f"the packages of the image cannot be had: {said}{remedy(said)}")
