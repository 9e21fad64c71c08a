"""What a base image is, found by looking at its files: no program of another architecture is run."""

from __future__ import annotations

import json
import re
import subprocess
import tarfile
from dataclasses import dataclass

from deploy.images.engine import Engine
from edge_rnn.contract.errors import BuildFailed

_PYTHON = re.compile(r"(?:\./)?usr/(?:local/)?bin/python3\.(\d+)")
_CUDA = re.compile(r"(?:\./)?usr/local/cuda-(\d+)(?:\.\d+)?/")


@dataclass(frozen=True)
class Base:
    """A base image. ``packages``: name and version of what Debian's package manager installed there."""

    reference: str
    digest: str
    python: tuple[int, int]
    system: str
    cuda_major: int | None
    packages: tuple[tuple[str, str], ...]
    arch: str


def look_at_base(engine: Engine, reference: str, arch: str) -> Base:
    """Fetch a base image if it is not there, and look at it. Raises `BuildFailed`."""
    platform = f"linux/{arch}"
    if engine.call("image", "inspect", reference, check=False).returncode:
        engine.call("pull", "--quiet", "--platform", platform, reference)
    found = json.loads(engine.call("image", "inspect", reference).stdout)[0]
    if found.get("Architecture") != arch:
        engine.call("pull", "--quiet", "--platform", platform, reference)
        found = json.loads(engine.call("image", "inspect", reference).stdout)[0]
    if found.get("Architecture") != arch:
        raise BuildFailed(
            f"the base {reference} is for {found.get('Architecture')}, expected {arch}; give --base for each --arch"
        )
    digest = next((one.rpartition("@")[2] for one in found.get("RepoDigests") or []), "") or f"sha256:{found['Id']}"
    pythons, system, cuda, packages = _files(engine, reference)
    if not pythons:
        raise BuildFailed(f"the base {reference} has no /usr/bin/python3.N; give one that brings Python 3.11 or newer")
    return Base(reference, digest, (3, max(pythons)), system, cuda, packages, arch)


def _files(engine: Engine, reference: str) -> tuple[set[int], str, int | None, tuple[tuple[str, str], ...]]:
    """Python versions, name of the system, CUDA's major version and packages, from the files of a container."""
    container = engine.call("create", reference, "true").stdout.strip()
    pythons: set[int] = set()
    system, cuda = "", None
    packages: tuple[tuple[str, str], ...] = ()
    try:
        with subprocess.Popen([engine.program, "export", container], stdout=subprocess.PIPE) as process:
            if process.stdout is None:
                raise BuildFailed(f"{engine.program} export gave nothing")
            with tarfile.open(fileobj=process.stdout, mode="r|") as archive:
                for member in archive:
                    if python := _PYTHON.fullmatch(member.name):
                        pythons.add(int(python[1]))
                    if seen := _CUDA.match(member.name):
                        cuda = int(seen[1])
                    name = member.name.removeprefix("./")
                    if name in ("etc/os-release", "usr/lib/os-release") and member.isfile():
                        system = _os_name(_read(archive, member)) or system
                    if name == "var/lib/dpkg/status" and member.isfile():
                        packages = _dpkg(_read(archive, member))
    finally:
        engine.call("rm", "--force", container, check=False)
    return pythons, system, cuda, packages


def _read(archive: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    file = archive.extractfile(member)
    return "" if file is None else file.read().decode(errors="replace")


def _os_name(text: str) -> str:
    found = re.search(r'^PRETTY_NAME="?([^"\n]*)', text, re.MULTILINE)
    return found[1] if found else ""


def _dpkg(text: str) -> tuple[tuple[str, str], ...]:
    packages = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line and not line.startswith(" "))
        if "Package" in fields and "Version" in fields:
            packages.append((fields["Package"], fields["Version"]))
    return tuple(sorted(packages))
