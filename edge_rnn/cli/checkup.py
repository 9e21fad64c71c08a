"""The examination behind ``edge-rnn doctor``: each finding tells what was found and what to do about it."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from edge_rnn.contract.errors import EdgeRnnError

if TYPE_CHECKING:
    from runtime.observe.board import Board

State = Literal["ok", "missing", "broken"]
MARKS = {"ok": "ok     ", "missing": "missing", "broken": "BROKEN "}

EXTRAS = {
    "cpu": ("onnxruntime", "run bundles on the CPU"),
    "gpu": ("onnxruntime-gpu", "run bundles on an NVIDIA GPU, instead of [cpu]"),
    "fast": ("confluent-kafka", "the faster Kafka client"),
    "train": ("torch", "train and export"),
    "recipes": ("aeon", "the recipes' data and the demo"),
    "tensorrt": ("tensorrt", "TensorRT engines, built and run on the GPU that is present"),
    "rtx": ("tensorrt-rtx-cu13-bindings", "TensorRT engines, built ahead without a GPU"),
    "sign": ("model-signing", "sign and verify bundles"),
    "parquet": ("pyarrow", "read Parquet files"),
}
"""Extra to the package that stands for it, and what it is for."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. ``missing`` is optional and absent, ``broken`` stops a bundle from running here."""

    what: str
    state: State
    found: str
    remedy: str = ""

    @property
    def mark(self) -> str:
        """The state as a word of fixed width."""
        return MARKS[self.state]

    def as_dict(self) -> dict[str, str]:
        """For ``--json``."""
        return asdict(self)


def examine(bundle: str | None = None) -> list[Finding]:
    """Look at everything; ``bundle`` is opened and its golden vectors are repeated. Never raises for what it finds."""
    findings = [_machine(), *_packages(), _runtime()]
    findings += [_java(), _gpu(), *_gpu_packages(), *jetson(_board())]
    if bundle is not None:
        findings.append(_bundle(Path(bundle)))
    return findings


def _machine() -> Finding:
    cores = len(os.sched_getaffinity(0))
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return Finding(
        "machine",
        "ok",
        f"{platform.machine()}, {cores} cores, {memory_gib:.1f} GiB, Python {platform.python_version()},"
        f" edge-rnn {_version('edge-rnn') or 'not installed as a package'}",
    )


def _packages() -> Iterator[Finding]:
    for extra, (package, purpose) in EXTRAS.items():
        version = _version(package)
        if version:
            yield Finding(package, "ok", f"{version}: {purpose}")
        elif not (extra in ("cpu", "gpu") and _version(EXTRAS["gpu" if extra == "cpu" else "cpu"][0])):
            yield Finding(package, "missing", purpose, f"pip install 'edge-rnn[{extra}]'")
    if _version("onnxruntime") and _version("onnxruntime-gpu"):
        yield Finding(
            "onnxruntime",
            "broken",
            "both onnxruntime and onnxruntime-gpu are installed; they overwrite each other's files",
            "pip uninstall onnxruntime onnxruntime-gpu, then install the extra [cpu] or [gpu]",
        )


def _runtime() -> Finding:
    try:
        from edge_rnn.contract.ort import import_onnxruntime

        ort = import_onnxruntime()
    except EdgeRnnError as error:
        return Finding("providers", "broken", "no bundle can run here", str(error))
    return Finding("providers", "ok", ", ".join(ort.get_available_providers()))


def _java() -> Finding:
    java, maven = shutil.which("java"), shutil.which("mvn")
    if java and maven:
        return Finding("java, maven", "ok", "found: the tests on Apache Kafka can run")
    absent = " and ".join(name for name, path in (("java", java), ("mvn", maven)) if not path)
    return Finding(
        "java, maven", "missing", f"{absent} not found: only needed for this project's tests on Kafka", "install them"
    )


def _gpu() -> Finding:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return Finding("gpu", "missing", "no NVIDIA driver found: bundles run on the CPU")
    query = [tool, "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    done = subprocess.run(query, capture_output=True, text=True, timeout=20, check=False)
    if done.returncode != 0:
        return Finding("gpu", "missing", f"nvidia-smi fails: {(done.stderr or done.stdout).strip()[:100]}")
    return Finding("gpu", "ok", done.stdout.strip().replace("\n", "; "))


def _gpu_packages() -> Iterator[Finding]:
    """What runs on a GPU that is present, and what of it is missing; nothing where there is none."""
    from edge_rnn.contract.tensorrt import installed_library, present_gpu
    from runtime.engines.cupy_device import import_cupy

    gpu = present_gpu()
    if gpu is None:
        return
    yield Finding("compute capability", "ok", gpu)
    try:
        cupy = import_cupy()
        yield Finding("cupy", "ok", f"{cupy.__version__}: states in the GPU's memory")
    except EdgeRnnError as error:
        yield Finding("cupy", "missing", "states in the GPU's memory", str(error))
    library = installed_library()
    if library is not None and gpu not in library.gpus():
        listed = ", ".join(library.gpus()) or "none"
        yield Finding(library.name, "missing", f"builds engines for {listed}, not for {gpu}", "run with --device cuda")


def _board() -> Board:
    from runtime.observe.board import Board

    return Board()


def jetson(board: Board) -> Iterator[Finding]:
    """What a Jetson is, and where its packages come from; nothing elsewhere."""
    release = board.jetpack()
    if release is None:
        return
    major, revision = release
    jetpack = next((pack for first, pack in ((38, 7), (36, 6), (34, 5)) if major >= first), 4)
    heat = max(board.temperatures().values(), default=None)
    found = f"JetPack {jetpack} (L4T {major}.{revision}), power mode {board.power_mode() or 'unknown'}"
    found += "" if heat is None else f", warmest zone {heat:.0f} degrees Celsius"
    remedies = {
        6: "CUDA 12.6: cupy-cuda12x from PyPI; onnxruntime-gpu and TensorRT 10.3 from NVIDIA (docs/gpu.md, Jetson)",
        7: "CUDA 13: pip install 'edge-rnn[gpu,tensorrt]'; see docs/gpu.md, Jetson",
    }
    old = "edge-rnn is for JetPack 6 and 7; install one of these, or run on the CPU (docs/gpu.md, Jetson)"
    yield Finding("jetson", "ok" if jetpack in remedies else "missing", found, remedies.get(jetpack, old))


def _bundle(path: Path) -> Finding:
    from edge_rnn.contract.bundle import open_bundle
    from edge_rnn.contract.stepgraph import open_step_graph
    from edge_rnn.contract.verification import check_golden

    try:
        bundle = open_bundle(path)
        figure = check_golden(bundle, open_step_graph(bundle))
    except EdgeRnnError as error:
        return Finding(f"bundle {path}", "broken", str(error))
    return Finding(
        f"bundle {path}",
        "ok",
        f"golden vectors repeat here: largest error {figure.max_abs_error:.1e}, bound {figure.bound:.1e}",
    )


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
