"""Podman or docker on the operator's machine, whichever is there."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edge_rnn.contract.errors import BuildFailed, MissingDependency

SOURCE_DATE_EPOCH = "0"
"""All times in an image: the same inputs give the same bytes."""


@dataclass(frozen=True)
class Engine:
    """One of the two, and where it is."""

    kind: Literal["podman", "docker"]
    program: str

    def call(self, *words: str, check: bool = True, timeout_s: float = 1800.0) -> subprocess.CompletedProcess[str]:
        """Run it. Raises `BuildFailed` with the last line that it said."""
        done = subprocess.run(
            [self.program, *words],
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
            env=self._environment(),
        )
        if check and done.returncode:
            lines = (done.stderr or done.stdout).strip().splitlines()
            said = lines[-1] if lines else str(done.returncode)
            raise BuildFailed(f"{self.kind} {words[0]} failed: {said}{remedy(said)}")
        return done

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "SOURCE_DATE_EPOCH": SOURCE_DATE_EPOCH}


def remedy(said: str) -> str:
    """What to do about a failure that a program tells of, as the end of a message; empty where that is not known."""
    if "no space left" in said.lower():
        return "; free some (podman system prune), or let TMPDIR name a folder that has more"
    return ""


def find_engine(wanted: str = "auto") -> Engine:
    """Podman, else docker. Raises `MissingDependency`."""
    kinds: tuple[Literal["podman", "docker"], ...] = ("podman", "docker")
    for kind in kinds:
        path = shutil.which(kind)
        if wanted in ("auto", kind) and path is not None:
            return Engine(kind, path)
    what = "neither podman nor docker is" if wanted == "auto" else f"{wanted} is not"
    raise MissingDependency(f"{what} installed; install podman 4 or newer (Debian: apt-get install podman)")


def build_words(kind: str, context: Path, arch: str, tag: str, id_file: Path) -> list[str]:
    """Words of a reproducible build, as a pure function: no network, no cache, all times zero."""
    common = ["--platform", f"linux/{arch}", "--no-cache", "--network", "none", "--tag", tag, "--iidfile", str(id_file)]
    if kind == "podman":
        return ["build", *common, "--timestamp", SOURCE_DATE_EPOCH, "--layers", "--pull=never", str(context)]
    output = f"type=docker,rewrite-timestamp=true,name={tag}"
    return ["buildx", "build", *common, "--provenance=false", "--output", output, str(context)]
