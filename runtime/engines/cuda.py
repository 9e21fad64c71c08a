"""ONNX Runtime on an NVIDIA GPU, states in its memory. Not seen on a GPU so far: ``tests/gpu`` is to prove it there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edge_rnn.contract.bundle import Bundle
from edge_rnn.contract.errors import EngineError, MissingDependency
from edge_rnn.contract.ort import import_onnxruntime
from edge_rnn.contract.signature import StateSpec
from edge_rnn.contract.stepgraph import Arrays
from edge_rnn.contract.verification import check_golden
from runtime.engines.bound import BoundStep
from runtime.engines.device import DeviceEngine, DeviceStep

PROVIDER = "CUDAExecutionProvider"
SHARE = 0.5
"""Of the memory that is free, what states may take; the rest is for the model and its calls."""

MOST_ROWS = 1 << 20
TOLERANCE = 1e-4
"""Of the golden vectors, which were recorded on a CPU: sums are made in another order here."""


def open_cuda_engine(bundle: Bundle, *, rows: int | None = None, tolerance: float = TOLERANCE) -> DeviceEngine:
    """Open a bundle on the first GPU and repeat its golden vectors there: a provider that is listed may not run.

    ``rows``: streams whose states are on the device at once; the default is what fits into half of its free memory.
    Products are in fp32 proper, without TF32. Raises `MissingDependency`, `EngineError` when there is no GPU, it has
    no room, or the graph does not open or run there, `GateFailed` when it runs and gives something else.
    """
    cupy = import_cupy()
    try:
        return _opened(bundle, cupy, rows, tolerance)
    except cupy.cuda.memory.OutOfMemoryError as error:
        raise EngineError(
            f"the GPU has no room for {bundle.manifest.name!r}: {error}; give fewer rows, or run it on the CPU"
        ) from error


def import_cupy() -> Any:
    """CuPy, with a GPU that it can use. Raises `MissingDependency`, `EngineError`."""
    try:
        import cupy
    except ImportError as error:
        raise MissingDependency(
            f"the CUDA engine needs CuPy, which cannot be imported ({error}); pip install cupy-cuda12x, or cupy-cuda13x"
        ) from error
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise EngineError(f"no GPU can be used: {error}; install NVIDIA's driver, or run on the CPU") from error
    if not count:
        raise EngineError("no GPU can be used: the driver shows none; run on the CPU")
    return cupy


def _opened(bundle: Bundle, cupy: Any, rows: int | None, tolerance: float) -> DeviceEngine:
    manifest = bundle.manifest

    def settle() -> None:
        cupy.cuda.get_current_stream().synchronize()

    step = BoundStep(manifest, _session(bundle), cupy, "cuda", bundle.constants(), settle)
    check_golden(bundle, ThroughHost(step, cupy), tolerance=tolerance)
    if rows is None:
        free, _ = cupy.cuda.Device().mem_info
        rows = max(1, min(MOST_ROWS, int(SHARE * free) // max(1, manifest.state_bytes)))
    first = [bundle.initial_state(spec) for spec in manifest.states]
    return DeviceEngine(manifest, step, first, cupy, rows, host=pinned)


def _session(bundle: Bundle) -> Any:
    """A session on the first GPU. Raises `EngineError` where it does not open there, or opens on the CPU instead."""
    ort = import_onnxruntime()
    if PROVIDER not in ort.get_available_providers():
        raise EngineError(
            f"onnxruntime {ort.__version__} has no {PROVIDER}, only {', '.join(ort.get_available_providers())};"
            " pip uninstall onnxruntime, then pip install 'edge-rnn[gpu]'"
        )
    options = ort.SessionOptions()
    options.log_severity_level = 4  # what goes wrong is raised, and said once
    given = {"device_id": "0", "use_tf32": "0"}
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


def pinned(spec: StateSpec, capacity: int, before: np.ndarray | None) -> np.ndarray:
    """Rows in memory that a GPU copies from and to directly; see `runtime.core.arena.Rows`."""
    import cupyx

    rows: np.ndarray = cupyx.empty_pinned((capacity, *spec.row_shape), spec.dtype)
    if before is not None:
        rows[: len(before)] = before
    return rows


class ThroughHost:
    """A device's step function with arrays of the host, for the gates; see `edge_rnn.contract.stepgraph.Step`."""

    def __init__(self, step: DeviceStep, xp: Any) -> None:
        self._step, self._xp = step, xp
        self._to_host = getattr(xp, "asnumpy", np.asarray)

    def __call__(self, inputs: Sequence[np.ndarray], states: Sequence[np.ndarray], /) -> tuple[Arrays, Arrays]:
        """Run one call, up and down again."""
        given = [[self._xp.asarray(np.ascontiguousarray(value)) for value in values] for values in (inputs, states)]
        outputs, new = self._step(*given)
        return [self._to_host(value) for value in outputs], [self._to_host(value) for value in new]
