"""A device's step function, and a whole engine, as step functions of the host: for the gates, and what is measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edge_rnn.contract.bundle import Bundle
from edge_rnn.contract.errors import EngineError
from edge_rnn.contract.signature import GateFigure
from edge_rnn.contract.stepgraph import Arrays
from edge_rnn.contract.verification import check_golden
from runtime.engines.device import DeviceStep
from runtime.engines.protocol import Engine

CHUNK = 8
"""Steps of a call in which an engine repeats the golden vectors: one size is recorded for them."""


class ThroughHost:
    """A device's step function with arrays of the host; see `edge_rnn.contract.stepgraph.Step`."""

    def __init__(self, step: DeviceStep, xp: Any) -> None:
        self._step, self._xp = step, xp
        self._to_host = getattr(xp, "asnumpy", np.array)

    def __call__(self, inputs: Sequence[np.ndarray], states: Sequence[np.ndarray], /) -> tuple[Arrays, Arrays]:
        """Run one call, up and down again."""
        given = [[self._xp.asarray(np.ascontiguousarray(value)) for value in values] for values in (inputs, states)]
        outputs, new = self._step(*given)
        return [self._to_host(value) for value in outputs], [self._to_host(value) for value in new]


class ThroughEngine:
    """An engine with states that are given to it and taken from it in each call."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def __call__(self, inputs: Sequence[np.ndarray], states: Sequence[np.ndarray], /) -> tuple[Arrays, Arrays]:
        """Write, run, read. Raises `EngineError` where a stream is not good."""
        batch, specs = inputs[0].shape[1], self._engine.manifest.states
        slots = np.arange(batch)
        given = [
            np.ascontiguousarray(value, spec.dtype).reshape(batch, spec.row_bytes // np.dtype(spec.dtype).itemsize)
            for spec, value in zip(specs, states, strict=True)
        ]
        rows = [value.view(np.uint8) for value in given if value.shape[1]]
        self._engine.write(slots, np.concatenate([np.empty((batch, 0), np.uint8), *rows], axis=1))
        outputs, good = self._engine.run(slots, inputs)
        if not good.all():
            raise EngineError(f"a call of {self._engine.manifest.name!r} gave what is not finite")
        found, at, new = self._engine.read(slots), 0, []
        for spec in specs:
            piece = np.ascontiguousarray(found[:, at : at + spec.row_bytes])
            at += spec.row_bytes
            new.append(piece.reshape(-1).view(spec.dtype).reshape(batch, *spec.row_shape))
        return outputs, new


def check_engine(bundle: Bundle, engine: Engine, tolerance: float) -> GateFigure:
    """Repeat the golden vectors by the calls that records will go through; all streams are as new afterwards.

    Raises `GateFailed`, or `EngineError` where a call fails.
    """
    chunk = CHUNK if bundle.manifest.has_time else 1
    figure = check_golden(bundle, ThroughEngine(engine), tolerance=tolerance, longest_chunk=chunk)
    engine.reset(np.arange(2))
    return figure
