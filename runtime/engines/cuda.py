"""ONNX Runtime on an NVIDIA GPU, states in its memory. Not seen on a GPU so far: ``tests/gpu`` is to prove it there."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Callable
from typing import Any, Literal

from edge_rnn.contract.bundle import Bundle
from edge_rnn.contract.errors import EngineError, GateFailed
from edge_rnn.contract.ort import import_onnxruntime
from edge_rnn.contract.plans import BATCHES, TOLERANCES
from edge_rnn.contract.verification import check_golden
from runtime.core.arena import Rows
from runtime.engines.bound import BoundSession, BoundStep
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
from runtime.engines.recorded import Recorder, repeat
from runtime.engines.through import ThroughHost, check_engine
from runtime.engines.tuning import Tuning

log = logging.getLogger("edge_rnn.engines")

PROVIDER = "CUDAExecutionProvider"

Way = Literal["fused", "recorded", "graphs", "queued", "waiting"]
WAYS: tuple[Way, ...] = ("fused", "recorded", "graphs", "queued", "waiting")
"""How a call is made. ``fused``: all of it is one CUDA graph, of ours, with two kernels of ours around the model's.
``recorded``: the same with CuPy's own kernels, some thirty. ``graphs``: the model's part is one, of ONNX Runtime's own.
``queued``: nothing is recorded; ONNX Runtime works in the queue of the calls, and nobody waits for it but who wants the
results. ``waiting``: it has a queue of its own, and each call waits."""

KERNELS: tuple[Way, ...] = ("fused", "graphs", "queued")
"""Where rows are moved by kernels of ours; in the last two only if they do what they should. The others do without."""

RECORDS: dict[Way, bool] = {"fused": True, "recorded": True, "graphs": True, "queued": False, "waiting": False}
"""Whether ONNX Runtime is asked to be fit for CUDA graphs: all of the graph has to run on the GPU then."""


def open_cuda_engine(
    bundle: Bundle,
    *,
    rows: int | None = None,
    tolerance: float = TOLERANCES["fp32"],
    host: Rows | None = None,
    way: Way = WAYS[0],
    plainer: bool = True,
    shared: bool | None = None,
) -> DeviceEngine:
    """Open a bundle on the first GPU and repeat its golden vectors there: a provider that is listed may not run.

    ``rows``: streams whose states are on the device at once; the default is what fits into half of its free memory, or
    all of them where CPU and GPU share their memory. ``host``: where the others are, by default in pinned memory.
    ``shared``: whether that memory is one, in place of what the device says. ``way``: see `WAYS`; with ``plainer``,
    where it does not open or does not repeat the golden vectors, those behind it are tried. Calls of a recorded way are
    of some sizes (`runtime.engines.recorded.BUCKETS`). Products are in fp32 proper, without TF32. Raises
    `MissingDependency`, `EngineError` when there is no GPU, it has no room, or the graph does not open or run there,
    `GateFailed` when it runs and gives something else.
    """
    cupy = import_cupy()
    tried = WAYS[WAYS.index(way) :] if plainer else (way,)
    for each in tried:
        try:
            return _opened(cupy, bundle, each, rows, tolerance, host, shared)
        except (EngineError, GateFailed) as error:
            if each == tried[-1]:
                raise
            log.log(
                logging.WARNING if each == "fused" else logging.INFO,
                "the CUDA engine does not make its calls %s: %s",
                each,
                error,
            )
        cupy.get_default_memory_pool().free_all_blocks()
    raise AssertionError


def _opened(
    cupy: Any, bundle: Bundle, way: Way, rows: int | None, tolerance: float, host: Rows | None, shared: bool | None
) -> DeviceEngine:
    manifest, queue = bundle.manifest, cupy.cuda.Stream(non_blocking=True)
    with room_told(cupy, bundle), queue:
        session = _session(bundle, RECORDS[way], None if way == "waiting" else int(queue.ptr))
        settle = queue.synchronize if way == "waiting" else lambda: None
        run = BoundSession(session, "cuda", settle, _options(way), graphs=way == "graphs")
        step = BoundStep(manifest, run, cupy, bundle.constants(), fixed=way == "graphs")
        check_golden(bundle, ThroughHost(step, cupy), tolerance=tolerance)
        moves = kernel_moves(cupy, manifest) if way in KERNELS else None
        if moves is None and way == "fused":
            raise EngineError("there are no kernels of ours for it here")
        device = cuda_device(cupy, queue, shared, moves)
        first = [bundle.initial_state(spec) for spec in manifest.states]
        if rows is None and not (device.shared and host is None):
            rows = rows_that_fit(cupy, manifest.state_bytes)
        recorders: dict[Way, Recorder] = {
            "fused": CudaGraphs(cupy, queue),
            "recorded": CudaGraphs(cupy, queue),
            "graphs": repeat,
        }
        tuning = Tuning(streams=BATCHES[-1])
        engine = DeviceEngine(
            manifest, step, first, device, rows, host=host or pinned, tuning=tuning, record=recorders.get(way), how=way
        )
    with room_told(cupy, bundle):
        check_engine(bundle, engine, tolerance)
    return engine


def _options(way: Way) -> Callable[[], Any] | None:
    """What makes a run's options."""
    if way == "waiting":
        return None

    def make() -> Any:
        options = import_onnxruntime().RunOptions()
        options.add_run_config_entry("disable_synchronize_execution_providers", "1")
        if way in ("fused", "recorded"):
            options.add_run_config_entry("gpu_graph_id", "-1")  # we record; it does not
        return options

    return make


def _session(bundle: Bundle, graphs: bool = False, queue: int | None = None) -> Any:
    """A session on the first GPU, in ``queue`` (a CUDA stream's address) or one of its own.

    Raises `EngineError` where it does not open there, or opens on the CPU instead.
    """
    ort = import_onnxruntime()
    if PROVIDER not in ort.get_available_providers():
        raise EngineError(
            f"onnxruntime {ort.__version__} has no {PROVIDER}, only {', '.join(ort.get_available_providers())};"
            " pip uninstall onnxruntime, then pip install 'edge-rnn[gpu]'"
        )
    if hasattr(ort, "preload_dlls"):  # CUDA's libraries out of Python packages; what it cannot find it prints
        with contextlib.redirect_stdout(io.StringIO()):
            ort.preload_dlls()
    options = ort.SessionOptions()
    options.log_severity_level = 4  # what goes wrong is raised, and said once
    given = {"device_id": "0", "use_tf32": "0", "enable_cuda_graph": str(int(graphs))}
    if queue is not None:
        given["user_compute_stream"] = str(queue)
    try:
        session = ort.InferenceSession(str(bundle.graph_path), options, providers=[(PROVIDER, given)])
    except Exception as error:  # onnxruntime raises its own classes, which share no base
        told = (str(error) or type(error).__name__).strip().splitlines()[0][:300]
        raise EngineError(
            f"onnxruntime {ort.__version__} cannot open {bundle.manifest.name!r} on the GPU: {told}"
        ) from error
    if session.get_providers()[:1] != [PROVIDER]:
        raise EngineError(
            f"onnxruntime {ort.__version__} lists {PROVIDER} but runs on {session.get_providers()[0]}: its CUDA libraries"
            " do not fit this driver; edge-rnn doctor says more"
        )
    return session
