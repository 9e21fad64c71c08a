"""An engine that measures the engine inside it."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from runtime.engines.protocol import Begun, Engine, OverlappingEngine
from runtime.observe.metrics import Metrics


class TimedEngine:
    """Passes everything on and tells the metrics each call's shape and time."""

    def __init__(self, inner: Engine, metrics: Metrics) -> None:
        self.manifest = inner.manifest
        self._inner = inner
        self._metrics = metrics
        self.grow = inner.grow
        self.reset = inner.reset
        self.read = inner.read
        self.works = inner.works
        self.write = inner.write

    def run(self, slots: np.ndarray, inputs: Sequence[np.ndarray]) -> tuple[list[np.ndarray], np.ndarray]:
        """See `runtime.engines.protocol.Engine.run`."""
        began = time.perf_counter()
        result = self._inner.run(slots, inputs)
        self._metrics.called(inputs[0].shape[0], slots.size, time.perf_counter() - began)
        return result


class TimedOverlappingEngine(TimedEngine):
    """The same; a call that is begun takes until its result is there, what it waits behind another one included."""

    def __init__(self, inner: OverlappingEngine, metrics: Metrics) -> None:
        super().__init__(inner, metrics)
        self._begin = inner.begin
        self.begin_read = inner.begin_read

    def begin(self, slots: np.ndarray, inputs: Sequence[np.ndarray]) -> Begun | None:
        """See `runtime.engines.protocol.OverlappingEngine.begin`."""
        began = time.perf_counter()
        call = self._begin(slots, inputs)
        return None if call is None else _TimedCall(call, self._metrics, (inputs[0].shape[0], slots.size), began)


class _TimedCall:
    def __init__(self, call: Begun, metrics: Metrics, shape: tuple[int, int], began: float) -> None:
        self._call, self._metrics, self._shape, self._began = call, metrics, shape, began

    def result(self) -> tuple[list[np.ndarray], np.ndarray]:
        result = self._call.result()
        self._metrics.called(*self._shape, time.perf_counter() - self._began)
        return result


def timed(engine: Engine, metrics: Metrics) -> TimedEngine:
    """The engine measured, with all that it offers."""
    if isinstance(engine, OverlappingEngine):
        return TimedOverlappingEngine(engine, metrics)
    return TimedEngine(engine, metrics)
