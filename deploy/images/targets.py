"""The kinds of devices that images are built for, and what holds on each.

Only ``cpu`` is built and run whole by this project's tests. ``cuda`` and ``jetson`` are build plans that are
checked as far as that goes without such a device, and are said to be untested until they ran on one.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Target = Literal["cpu", "cuda", "jetson"]
Arch = Literal["amd64", "arm64"]

LOCKS = Path(__file__).with_name("locks")
MACHINE = {"amd64": "x86_64", "arm64": "aarch64"}

SITE = "/opt/edge-rnn/site"
CODE = "/opt/edge-rnn/code"
SBOM = "/opt/edge-rnn/sbom.cdx.json"


@dataclass(frozen=True)
class TargetSpec:
    """One kind. ``engine`` is the distribution that brings ONNX Runtime; ``libraries`` where its CUDA libraries lie."""

    name: Target
    arches: tuple[Arch, ...]
    engine: str
    lock: Path
    default_base: str | None
    tested: bool
    cuda_majors: tuple[int, ...] = ()
    libraries: tuple[str, ...] = ()
    needs_wheel: bool = False

    def library_path(self, cuda_major: int | None) -> str:
        """Value of ``LD_LIBRARY_PATH``; empty where none is needed."""
        paths = [path.format(site=SITE, major=cuda_major) for path in self.libraries]
        return ":".join(paths)


TARGETS: dict[Target, TargetSpec] = {
    "cpu": TargetSpec("cpu", ("amd64", "arm64"), "onnxruntime", LOCKS / "cpu.lock", "python:3.11-slim-bookworm", True),
    "cuda": TargetSpec(
        "cuda",
        ("amd64",),
        "onnxruntime-gpu",
        LOCKS / "cuda.lock",
        "python:3.11-slim-bookworm",
        False,
        cuda_majors=(12, 13),
        libraries=("{site}/nvidia/cu{major}/lib", "{site}/nvidia/cudnn/lib"),
    ),
    "jetson": TargetSpec(
        "jetson",
        ("arm64",),
        "onnxruntime-gpu",
        LOCKS / "cpu.lock",
        None,
        False,
        cuda_majors=(12, 13),
        libraries=("/usr/local/cuda/lib64", "/usr/lib/aarch64-linux-gnu/nvidia", "/usr/lib/aarch64-linux-gnu/tegra"),
        needs_wheel=True,
    ),
}
"""The default bases are short names of public images; give ``--base IMAGE@sha256:...`` to pin one."""


@dataclass(frozen=True)
class JetPack:
    """What a JetPack's base images bring. https://docs.nvidia.com/jetson/archives/"""

    major: int
    ubuntu: str
    python: str
    cuda: str


JETPACKS = (JetPack(6, "22.04", "3.10", "12.6"), JetPack(7, "24.04", "3.12", "13.0"))
