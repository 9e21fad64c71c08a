"""What ``edge-rnn run`` does before the daemon starts on a GPU: TensorRT engines that are not there yet are built.

In a process of its own, so that the daemon imports neither onnx nor the exporters.
"""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edge_rnn.contract.plans import EnginePrecision
    from runtime.engines.devices import Device

log = logging.getLogger("edge_rnn.engines")


def build_missing(path: Path, device: Device, cache_dir: Path, precision: EnginePrecision = "fp32") -> bool:
    """Build the engines that ``device`` may use and the cache lacks. Returns whether it was tried.

    One that cannot be built is warned of; what can run without it is for the daemon to decide.
    """
    from edge_rnn.contract.bundle import open_bundle
    from edge_rnn.contract.plans import PlanCache, chunk_sizes, plan_key
    from edge_rnn.contract.tensorrt import installed_library, present_gpu

    if device not in ("auto", "tensorrt"):
        return False
    # Asked before the library: loading it takes 100 MB and a third of a second, on machines without a GPU for nothing.
    if (gpu := present_gpu()) is None or (library := installed_library()) is None:
        return False
    manifest = open_bundle(path).manifest
    if manifest.precision != "fp32" or manifest.batch_limit is not None:
        return False
    keys = [plan_key(manifest, library.name, library.version, gpu, chunk, precision) for chunk in chunk_sizes(manifest)]
    cache = PlanCache(cache_dir)
    if all(cache.read(key) is not None for key in keys):
        return False
    log.info("building TensorRT engines for this GPU, once", extra={"gpu": gpu, "cache_dir": str(cache_dir)})
    call = [
        sys.executable,
        "-m",
        "edge_rnn.cli.build_engines",
        str(path),
        "--cache-dir",
        str(cache_dir),
        "--gpu",
        gpu,
        "--precision",
        precision,
    ]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    if done.returncode:
        told = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        log.warning("TensorRT engines cannot be built here: %s", told)
    return True
