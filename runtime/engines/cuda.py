"""ONNX Runtime on an NVIDIA GPU, states in its memory. Not seen on a GPU so far: ``tests/gpu`` is to prove it there."""

from __future__ import annotations

import contextlib
import io
import logging
from typing import Any

from edge_rnn.contract.bundle import Bundle
from edge_rnn.contract.errors import EngineError
from edge_rnn.contract.ort import import_onnxruntime
from edge_rnn.contract.plans import BATCHES, TOLERANCES
from edge_rnn.contract.verification import check_golden
from runtime.core.arena import Rows
from runtime.engines.bound import BoundSession, BoundStep
from runtime.engines.cupy_device import ThroughHost, import_cupy, pinned, room_told, rows_that_fit
from runtime.engines.device import DeviceEngine
from runtime.engines.recorded import repeat
from runtime.engines.tuning import Tuning

log = logging.getLogger("edge_rnn.engines")

PROVIDER = "CUDAExecutionProvider"


def open_cuda_engine(
    bundle: Bundle,
    *,
    rows: int | None = None,
    tolerance: float = TOLERANCES["fp32"],
    host: Rows = pinned,
    graphs: bool = True,
) -> DeviceEngine:
    """Open a bundle on the first GPU and repeat its golden vectors there: a provider that is listed may not run.

    ``rows``: streams whose states are on the device at once; the default is what fits into half of its free memory.
    ``graphs``: ONNX Runtime records calls as CUDA graphs, one for each number of steps and bucket of streams, where it
    can: all of the graph has to run on the GPU. Products are in fp32 proper, without TF32. Raises `MissingDependency`, `EngineError` when there is no GPU, it has
    no room, or the graph does not open or run there, `GateFailed` when it runs and gives something else.
    """
    cupy, manifest = import_cupy(), bundle.manifest

    def settle() -> None:
        cupy.cuda.get_current_stream().synchronize()

    def opened(recorded: bool) -> BoundStep:
        options = import_onnxruntime().RunOptions if recorded else None
        run = BoundSession(_session(bundle, recorded), "cuda", settle, options)
        step = BoundStep(manifest, run, cupy, bundle.constants(), fixed=recorded)
        check_golden(bundle, ThroughHost(step, cupy), tolerance=tolerance)
        return step

    with room_told(cupy, bundle):
        try:
            step, record = opened(graphs), repeat if graphs else None
        except EngineError as error:
            if not graphs:
                raise
            log.debug("no CUDA graphs: %s", error)
            step, record = opened(False), None
        first = [bundle.initial_state(spec) for spec in manifest.states]
        rows = rows_that_fit(cupy, manifest.state_bytes) if rows is None else rows
        tuning = Tuning(streams=BATCHES[-1])
        return DeviceEngine(manifest, step, first, cupy, rows, host=host, tuning=tuning, record=record)


def _session(bundle: Bundle, graphs: bool = False) -> Any:
    """A session on the first GPU. Raises `EngineError` where it does not open there, or opens on the CPU instead."""
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
