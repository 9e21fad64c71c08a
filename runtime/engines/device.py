"""A step function on a device, with the states of the streams in use kept there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any, Protocol

import numpy as np

from edge_rnn.contract.errors import EngineError
from edge_rnn.contract.signature import Manifest
from runtime.core.arena import Rows, in_memory
from runtime.core.device_arena import DeviceArena
from runtime.engines.tuning import Tuning


class DeviceStep(Protocol):
    """Like `edge_rnn.contract.stepgraph.Step`, with arrays of the device's array module. Raises `EngineError`."""

    def __call__(self, inputs: Sequence[Any], states: Sequence[Any], /) -> tuple[list[Any], list[Any]]: ...


class DeviceEngine:
    """Gather, step and scatter on a device; one upload of inputs and one download of outputs a call.

    See `runtime.engines.protocol.Engine`. Calls from several threads take turns.
    """

    def __init__(
        self,
        manifest: Manifest,
        step: DeviceStep,
        first: Sequence[np.ndarray],
        xp: Any,
        rows: int,
        *,
        host: Rows = in_memory,
        tuning: Tuning = Tuning(),  # noqa: B008 (it does not change)
    ) -> None:
        """``first``: one stream's first value of each state, ``[*row]``; ``rows``, ``host``: see `DeviceArena`."""
        self.manifest = manifest
        self.step = step
        self.tuning = tuning
        self._xp = xp
        self._to_host: Callable[[Any], np.ndarray] = getattr(xp, "asnumpy", np.asarray)
        self.arena = DeviceArena(manifest.states, first, xp, rows, host=host)
        self._lock = Lock()

    def grow(self, capacity: int) -> None:
        """Make room for at least ``capacity`` streams."""
        with self._lock:
            self.arena.grow(capacity)

    def reset(self, slots: np.ndarray) -> None:
        """Give these slots the states of a stream that has seen nothing."""
        with self._lock:
            self.arena.reset(slots)

    def run(self, slots: np.ndarray, inputs: Sequence[np.ndarray]) -> tuple[list[np.ndarray], np.ndarray]:
        """Gather, step, scatter; see the protocol. More streams than the device holds go in several calls of it."""
        with self._lock:
            if slots.size <= self.arena.rows:
                return self._run(slots, inputs)
            before = self.arena.read(slots)
            try:
                parts = [
                    self._run(
                        slots[start : start + self.arena.rows], [x[:, start : start + self.arena.rows] for x in inputs]
                    )
                    for start in range(0, slots.size, self.arena.rows)
                ]
            except EngineError:
                self.arena.write(slots, before)
                raise
        outputs = [np.concatenate(values, axis=1) for values in zip(*(part[0] for part in parts), strict=True)]
        return outputs, np.concatenate([part[1] for part in parts])

    def works(self) -> bool:
        """Whether one step of zeros from the first states succeeds."""
        zeros = [self._xp.zeros((1, 1, *spec.row_shape), spec.dtype) for spec in self.manifest.inputs]
        with self._lock:
            try:
                self.step(zeros, self.arena.first())
            except EngineError:
                return False
        return True

    def read(self, slots: np.ndarray) -> np.ndarray:
        """States as bytes: uint8[n, state_bytes]."""
        with self._lock:
            return self.arena.read(slots)

    def write(self, slots: np.ndarray, rows: np.ndarray) -> None:
        """The inverse of `read`."""
        with self._lock:
            self.arena.write(slots, rows)

    def _run(self, slots: np.ndarray, inputs: Sequence[np.ndarray]) -> tuple[list[np.ndarray], np.ndarray]:
        given = [self._xp.asarray(np.ascontiguousarray(value)) for value in inputs]
        outputs, states = self.step(given, self.arena.gather(slots))
        good = self._good(outputs, states, slots.size)
        if good.all():
            self.arena.scatter(slots, states)
        elif good.any():
            keep = self._xp.asarray(np.flatnonzero(good))
            self.arena.scatter(slots[good], [value[keep] for value in states])
        return [self._to_host(value) for value in outputs], good

    def _good(self, outputs: Sequence[Any], states: Sequence[Any], streams: int) -> np.ndarray:
        """Whether all that a stream has now is finite, found on the device: bool[streams]."""
        good = self._xp.ones(streams, bool)
        for value, axis in [*((value, 1) for value in outputs), *((value, 0) for value in states)]:
            if value.dtype.kind == "f":
                others = tuple(index for index in range(value.ndim) if index != axis)
                good &= self._xp.isfinite(value).all(axis=others)
        return self._to_host(good)
