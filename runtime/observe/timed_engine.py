"""An engine that measures the engine inside it."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from runtime.engines.protocol import Engine
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
