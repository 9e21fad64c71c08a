"""ONNX Runtime on an NVIDIA GPU, states in its memory. Not seen on a GPU so far: ``tests/gpu`` is to prove it there."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Callable
from typing import Any

from edge_rnn.contract.bundle import Bundle
from edge_rnn.contract.errors import EngineError, GateFailed
from edge_rnn.contract.ort import import_onnxruntime
from edge_rnn.contract.plans import BATCHES, TOLERANCES
from edge_rnn.contract.verification import check_golden
from runtime.core.arena import Rows
from runtime.engines.bound import BoundSession, BoundStep
from runtime.engines.cupy_device import ThroughHost, cuda_device, import_cupy, pinned, room_told, rows_that_fit
from runtime.engines.device import DeviceEngine
from runtime.engines.recorded import Recorder, repeat
from runtime.engines.tuning import Tuning

log = logging.getLogger("edge_rnn.engines")

PROVIDER = "CUDAExecutionProvider"


def open_cuda_engine(
    bundle: Bundle,
    *,
    rows: int | None = None,
    tolerance: float = TOLERANCES["fp32"],
    host: Rows | None = None,
    graphs: bool = True,
    queued: bool = True,
) -> DeviceEngine:
    """Open a bundle on the first GPU and repeat its golden vectors there: a provider that is listed may not run.

    ``rows``: streams whose states are on the device at once; the default is what fits into half of its free memory, or
    all of them where CPU and GPU share their memory. ``host``: where the others are, by default in pinned memory.
    ``graphs``: ONNX Runtime records calls as CUDA graphs, one for each number of steps and bucket of streams, where it
    can: all of the graph has to run on the GPU. ``queued``: it works in the queue of the calls, and nobody waits for it
    but who wants the results; otherwise in one of its own, and each call waits. What does not open or repeat the golden
    vectors so is opened in a plainer way. Products are in fp32 proper, without TF32. Raises `MissingDependency`,
    `EngineError` when there is no GPU, it has no room, or the graph does not open or run there, `GateFailed` when it
    runs and gives something else.
    """
    cupy, manifest = import_cupy(), bundle.manifest
    queue = cupy.cuda.Stream(non_blocking=True)

    def opened(recorded: bool, shared: bool) -> BoundStep:
        session = _session(bundle, recorded, int(queue.ptr) if shared else None)
        options = _options(shared) if shared or recorded else None
        run = BoundSession(session, "cuda", (lambda: None) if shared else queue.synchronize, options, graphs=recorded)
        step = BoundStep(manifest, run, cupy, bundle.constants(), fixed=recorded)
        check_golden(bundle, ThroughHost(step, cupy), tolerance=tolerance)
        return step

    record: Recorder | None
    with room_told(cupy, bundle), queue:
        ways = list(dict.fromkeys([(graphs, queued), (False, queued), (False, False)]))
        for number, (recorded, shared) in enumerate(ways):
            try:
                step, record = opened(recorded, shared), repeat if recorded else None
                break
            except (EngineError, GateFailed) as error:
                if number == len(ways) - 1:
                    raise
                log.debug("no session with %s: %s", {"graphs": recorded, "queued": shared}, error)
        device = cuda_device(cupy, queue)
        first = [bundle.initial_state(spec) for spec in manifest.states]
        if rows is None and not (device.shared and host is None):
            rows = rows_that_fit(cupy, manifest.state_bytes)
        tuning = Tuning(streams=BATCHES[-1])
        engine = DeviceEngine(manifest, step, first, device, rows, host=host or pinned, tuning=tuning, record=record)
        queue.synchronize()
    return engine


def _options(queued: bool) -> Callable[[], Any]:
    """What makes a run's options."""

    def make() -> Any:
        options = import_onnxruntime().RunOptions()
        if queued:
            options.add_run_config_entry("disable_synchronize_execution_providers", "1")
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
