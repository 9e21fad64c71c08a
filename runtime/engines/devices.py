"""The engines that ``--device`` names, as far as this machine may have them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from edge_rnn.contract.bundle import Bundle
from edge_rnn.contract.plans import EnginePrecision
from edge_rnn.contract.tensorrt import installed_library, present_gpu
from edge_rnn.contract.verification import check_golden
from runtime.core.arena import Rows
from runtime.engines.choice import Choice, Opener, TunedEngine, choose
from runtime.engines.cpu import open_cpu_engine
from runtime.engines.scratch import ScratchFiles

Device = Literal["auto", "cpu", "cuda", "tensorrt"]


def open_engine(
    bundle: Bundle,
    device: Device,
    *,
    threads: int | None = None,
    folder: Path | None = None,
    cache_dir: Path,
    precision: EnginePrecision = "fp32",
) -> Choice:
    """Open a bundle on ``device``, its golden vectors repeated there; ``auto``: on what is fastest here.

    ``threads``, ``folder``: see `runtime.engines.cpu.open_cpu_engine`; ``cache_dir`` holds TensorRT's engines, of which those in ``precision`` are
    taken. ``auto``
    looks for a GPU only where there is a driver. Raises as the engines do when a device asked for cannot be used.
    """

    def cpu() -> TunedEngine:
        engine = open_cpu_engine(bundle, tuned=True, threads=threads, folder=folder)
        check_golden(bundle, engine.step)
        return engine

    def cuda() -> TunedEngine:
        from runtime.engines.cuda import open_cuda_engine

        return open_cuda_engine(bundle, host=_host(folder))

    def tensorrt() -> TunedEngine:
        from runtime.engines.tensorrt import open_tensorrt_engine

        return open_tensorrt_engine(bundle, cache_dir, precision=precision, host=_host(folder))

    known: dict[str, Opener] = {"tensorrt": tensorrt, "cuda": cuda, "cpu": cpu}
    if device != "auto":
        return choose(bundle, {device: known[device]})
    if present_gpu() is None or bundle.manifest.batch_limit is not None or bundle.manifest.precision == "int8":
        return choose(bundle, {"cpu": cpu})
    if installed_library() is None or bundle.manifest.precision != "fp32":
        del known["tensorrt"]
    return choose(bundle, known)


def _host(folder: Path | None) -> Rows | None:
    return None if folder is None else ScratchFiles(folder)
