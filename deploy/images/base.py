"""What a base image is, found by looking at its files: no program of another architecture is run."""

from __future__ import annotations

import json
import re
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from deploy.images.engine import Engine
from edge_rnn.contract.errors import BuildFailed

_PYTHON = re.compile(r"usr/(?:local/)?bin/python3\.(\d+)")
_LIBRARY = re.compile(r"(usr/(?:local/)?lib/python3\.(\d+))/(?:os\.py|__pycache__/os\..*\.pyc)")
_CUDA = re.compile(r"usr/local/cuda-(\d+)(?:\.\d+)?/")


@dataclass(frozen=True)
class Base:
    """A base image. ``packages``: name and version of what Debian's package manager installed there.

    ``library`` is the folder of Python's own library, without the leading slash; ``has_bytecode``: it is compiled.
    """

    reference: str
    digest: str
    python: tuple[int, int]
    system: str
    cuda_major: int | None
    packages: tuple[tuple[str, str], ...]
    arch: str
    library: str = ""
    has_bytecode: bool = True


def look_at_base(engine: Engine, reference: str, arch: str) -> Base:
    """Fetch a base image if it is not there, and look at it. Raises `BuildFailed`."""
    pull = ("pull", "--quiet", "--platform", f"linux/{arch}", reference)
    found = _inspected(engine, reference)
    if found is None:
        try:
            engine.call(*pull)
        except BuildFailed as error:
            raise BuildFailed(f"the base {reference} cannot be had: {error}; give --base IMAGE, or make it") from error
        found = _inspected(engine, reference)
    if found is not None and found.get("Architecture") != arch:
        engine.call(*pull, check=False)
        found = _inspected(engine, reference)
    if found is None or found.get("Architecture") != arch:
        kind = "not there" if found is None else f"for {found.get('Architecture')}"
        raise BuildFailed(f"the base {reference} is {kind}, expected one for {arch}; give --base for each --arch")
    digest = next((one.rpartition("@")[2] for one in found.get("RepoDigests") or []), "") or f"sha256:{found['Id']}"
    seen = _look_inside(engine, reference)
    if not seen.pythons:
        raise BuildFailed(f"the base {reference} has no /usr/bin/python3.N; give one that brings Python 3.11 or newer")
    minor = max(seen.pythons)
    # /usr/local's Python is found before /usr's where there are both
    library = max((name for name, number in seen.libraries.items() if number == minor), default="")
    return Base(
        reference=reference,
        digest=digest,
        python=(3, minor),
        system=seen.system,
        cuda_major=seen.cuda_major,
        packages=seen.packages,
        arch=arch,
        library=library,
        has_bytecode=not library or library in seen.compiled,
    )


def _inspected(engine: Engine, reference: str) -> dict[str, Any] | None:
    """What the engine knows of an image in its storage; ``None``: it is not there."""
    done = engine.call("image", "inspect", reference, check=False)
    return None if done.returncode else dict(json.loads(done.stdout)[0])


def base_files(engine: Engine, reference: str, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    """Names, without a leading slash, and contents of those files of a base that are ``wanted``."""
    for archive, member in _exported(engine, reference):
        name = member.name.removeprefix("./")
        file = archive.extractfile(member) if member.isfile() and wanted(name) else None
        if file is not None:
            yield name, file.read()


@dataclass
class _Seen:
    """What the names and a few of the files of a base tell; ``libraries``: folder to Python's minor version."""

    pythons: set[int] = field(default_factory=set)
    libraries: dict[str, int] = field(default_factory=dict)
    compiled: set[str] = field(default_factory=set)
    system: str = ""
    cuda_major: int | None = None
    packages: tuple[tuple[str, str], ...] = ()


def _look_inside(engine: Engine, reference: str) -> _Seen:
    seen = _Seen()
    for archive, member in _exported(engine, reference):
        name = member.name.removeprefix("./")
        if python := _PYTHON.fullmatch(name):
            seen.pythons.add(int(python[1]))
        if library := _LIBRARY.fullmatch(name):
            seen.libraries[library[1]] = int(library[2])
            if name.endswith(".pyc"):
                seen.compiled.add(library[1])
        if cuda := _CUDA.match(name):
            seen.cuda_major = int(cuda[1])
        if name in ("etc/os-release", "usr/lib/os-release") and member.isfile():
            seen.system = _os_name(_read(archive, member)) or seen.system
        if name == "var/lib/dpkg/status" and member.isfile():
            seen.packages = _dpkg(_read(archive, member))
    return seen


def _exported(engine: Engine, reference: str) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    """The files of a base, one after the other; each can be read until the next is asked for."""
    container = engine.call("create", reference, "true").stdout.strip()
    try:
        with subprocess.Popen([engine.program, "export", container], stdout=subprocess.PIPE) as process:
            if process.stdout is None:
                raise BuildFailed(f"{engine.program} export gave nothing")
            with tarfile.open(fileobj=process.stdout, mode="r|") as archive:
                for member in archive:
                    yield archive, member
    finally:
        engine.call("rm", "--force", container, check=False)


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
