"""TensorRT on an NVIDIA GPU: the engines that were built for it, states in its memory. Not seen on a GPU so far."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np

from edge_rnn.contract.bundle import Bundle
from edge_rnn.contract.errors import EngineError, GateFailed
from edge_rnn.contract.plans import BATCHES, TOLERANCES, EnginePrecision, PlanCache, chunk_sizes, plan_key
from edge_rnn.contract.tensorrt import Library, find_library, present_gpu
from edge_rnn.contract.verification import check_golden
from runtime.core.arena import Rows
from runtime.engines.cupy_device import (
    CudaGraphs,
    cuda_device,
    import_cupy,
    kernel_moves,
    pinned,
    room_told,
    rows_that_fit,
)
from runtime.engines.device import DeviceEngine
from runtime.engines.kernel_moves import KernelMoves
from runtime.engines.planned import PlannedStep, PlanRunner
from runtime.engines.through import ThroughHost, check_engine
from runtime.engines.tuning import Tuning

log = logging.getLogger("edge_rnn.engines")


def open_tensorrt_engine(
    bundle: Bundle,
    cache_dir: Path,
    *,
    precision: EnginePrecision = "fp32",
    rows: int | None = None,
    host: Rows | None = None,
    kernels: bool = True,
) -> DeviceEngine:
    """Open the engines that the cache holds for this bundle, GPU and library, and repeat the golden vectors.

    Calls are recorded as CUDA graphs, one for each number of steps and bucket of streams. ``rows``, ``host`` as in
    `runtime.engines.cuda.open_cuda_engine`. ``kernels``: rows are moved by kernels of our own, where these do what they
    should. Raises `MissingDependency`, `EngineError` when an engine is not there or cannot be opened or run, `GateFailed`
    when it gives something else.
    """
    cupy, library = import_cupy(), find_library()
    plans = find_plans(bundle, library, present_gpu(), cache_dir, precision)
    queue = cupy.cuda.Stream(non_blocking=True)
    with room_told(cupy, bundle), queue:
        step = planned_step(bundle, library, plans, cupy, queue)
        check_golden(bundle, ThroughHost(step, cupy), tolerance=TOLERANCES[precision])
        moves = kernel_moves(cupy, bundle.manifest) if kernels else None
    if moves is not None:
        try:
            return _opened(cupy, bundle, step, queue, moves, TOLERANCES[precision], rows, host)
        except (EngineError, GateFailed) as error:
            log.warning("the TensorRT engine does not make its calls fused: %s", error)
        cupy.get_default_memory_pool().free_all_blocks()
    return _opened(cupy, bundle, step, queue, None, TOLERANCES[precision], rows, host)


def _opened(
    cupy: Any,
    bundle: Bundle,
    step: PlannedStep,
    queue: Any,
    moves: KernelMoves | None,
    tolerance: float,
    rows: int | None,
    host: Rows | None,
) -> DeviceEngine:
    """The engine that makes its calls so, once it has repeated the golden vectors by them."""
    manifest = bundle.manifest
    with room_told(cupy, bundle), queue:
        first = [bundle.initial_state(spec) for spec in manifest.states]
        device = cuda_device(cupy, queue, moves=moves)
        if rows is None and not (device.shared and host is None):
            rows = rows_that_fit(cupy, manifest.state_bytes)
        engine = DeviceEngine(
            manifest,
            step,
            first,
            device,
            rows,
            host=host or pinned,
            tuning=Tuning(streams=BATCHES[-1]),
            record=CudaGraphs(cupy, queue),
            how="recorded" if moves is None else "fused",
            most=BATCHES[-1],
        )
    with room_told(cupy, bundle):
        check_engine(bundle, engine, tolerance)
    return engine


def find_plans(
    bundle: Bundle, library: Library, gpu: str | None, cache_dir: Path, precision: EnginePrecision = "fp32"
) -> dict[int, bytes]:
    """The engine of each chunk, from the cache. Raises `EngineError` naming the first that is not there."""
    if gpu is None:
        raise EngineError("no GPU can be used: the driver shows none; run with --device cpu")
    cache, found = PlanCache(cache_dir), {}
    for chunk in chunk_sizes(bundle.manifest):
        key = plan_key(bundle.manifest, library.name, library.version, gpu, chunk, precision)
        plan = cache.read(key)
        if plan is None:
            raise EngineError(
                f"{cache_dir} holds no {precision} engine of {bundle.manifest.name!r} for {gpu} by {library.name} {library.version}"
                f" (chunk of {chunk}); edge-rnn export --target tensorrt --gpu {gpu}, or run with --device cuda"
            )
        found[chunk] = plan.plan
    return found


def planned_step(bundle: Bundle, library: Library, plans: dict[int, bytes], xp: Any, queue: Any) -> PlannedStep:
    """The engines as one step function in the order of ``queue``, a stream with a handle ``ptr``. Raises `EngineError`."""
    name = bundle.manifest.name

    def room(size: int) -> Any:
        return xp.empty(size, np.uint8)

    runners = {
        chunk: PlanRunner(library, plan, f"{name!r}, chunk of {chunk}", lambda: int(queue.ptr), room)
        for chunk, plan in plans.items()
    }
    return PlannedStep(bundle.manifest, runners, xp, bundle.constants())
