"""A step function on a device, with the states of the streams in use kept there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from threading import Lock
from typing import Any, Protocol

import numpy as np

from edge_rnn.contract.errors import EngineError
from edge_rnn.contract.signature import Manifest
from runtime.core.arena import Rows, in_memory
from runtime.core.device_arena import DeviceArena
from runtime.engines.recorded import RecordedCalls, Recorder
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
        record: Recorder | None = None,
        queue: Callable[[], AbstractContextManager[object]] = nullcontext,
        most: int | None = None,
    ) -> None:
        """``first``: one stream's first value of each state, ``[*row]``; ``rows``, ``host``: see `DeviceArena`.

        ``record``: calls are recorded once for each of a few sizes, and repeated; ``queue`` gives the context in which
        the device is worked with; ``most``: streams that ``step`` takes in a call.
        """
        self.manifest = manifest
        self.step = step
        self.tuning = tuning
        self._xp = xp
        self._to_host: Callable[[Any], np.ndarray] = getattr(xp, "asnumpy", np.asarray)
        self.arena = DeviceArena(manifest.states, first, xp, rows, host=host)
        self._lock = Lock()
        self._queue = queue
        self._calls = None if record is None else RecordedCalls(manifest, step, self.arena, xp, record, self._good)
        bounds = (rows, most, None if self._calls is None else self._calls.most)
        self._most = min(bound for bound in bounds if bound is not None)

    def grow(self, capacity: int) -> None:
        """Make room for at least ``capacity`` streams."""
        with self._turn():
            self.arena.grow(capacity)

    def reset(self, slots: np.ndarray) -> None:
        """Give these slots the states of a stream that has seen nothing."""
        with self._turn():
            self.arena.reset(slots)

    def run(self, slots: np.ndarray, inputs: Sequence[np.ndarray]) -> tuple[list[np.ndarray], np.ndarray]:
        """Gather, step, scatter; see the protocol. More streams than it takes go in several calls."""
        with self._turn():
            if slots.size <= self._most:
                return self._run(slots, inputs)
            before = self.arena.read(slots)
            try:
                parts = [
                    self._run(slots[start : start + self._most], [x[:, start : start + self._most] for x in inputs])
                    for start in range(0, slots.size, self._most)
                ]
            except EngineError:
                self.arena.write(slots, before)
                raise
        outputs = [np.concatenate(values, axis=1) for values in zip(*(part[0] for part in parts), strict=True)]
        return outputs, np.concatenate([part[1] for part in parts])

    def works(self) -> bool:
        """Whether one step of zeros from the first states succeeds."""
        zeros = [self._xp.zeros((1, 1, *spec.row_shape), spec.dtype) for spec in self.manifest.inputs]
        with self._turn():
            try:
                self.step(zeros, self.arena.first())
            except (EngineError, MemoryError, RuntimeError):
                return False
        return True

    def read(self, slots: np.ndarray) -> np.ndarray:
        """States as bytes: uint8[n, state_bytes]."""
        with self._turn():
            return self.arena.read(slots)

    def write(self, slots: np.ndarray, rows: np.ndarray) -> None:
        """The inverse of `read`."""
        with self._turn():
            self.arena.write(slots, rows)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        with self._lock, self._queue():
            yield

    def _run(self, slots: np.ndarray, inputs: Sequence[np.ndarray]) -> tuple[list[np.ndarray], np.ndarray]:
        try:
            return self._eager(slots, inputs) if self._calls is None else self._calls(slots, inputs)
        except (MemoryError, RuntimeError) as error:  # CuPy's own are of these
            raise EngineError(
                f"the device failed on {slots.size} streams of {self.manifest.name!r}: {error or type(error).__name__};"
                " run it with --device cpu"
            ) from error

    def _eager(self, slots: np.ndarray, inputs: Sequence[np.ndarray]) -> tuple[list[np.ndarray], np.ndarray]:
        given = [self._xp.asarray(np.ascontiguousarray(value)) for value in inputs]
        outputs, states = self.step(given, self.arena.gather(slots))
        good = self._to_host(self._good(outputs, states, slots.size))
        if good.all():
            self.arena.scatter(slots, states)
        elif good.any():
            keep = self._xp.asarray(np.flatnonzero(good))
            self.arena.scatter(slots[good], [value[keep] for value in states])
        return [self._to_host(value) for value in outputs], good

    def _good(self, outputs: Sequence[Any], states: Sequence[Any], streams: int) -> Any:
        """Whether all that a stream has now is finite: bool[streams], on the device."""
        good = self._xp.ones(streams, bool)
        for value, axis in [*((value, 1) for value in outputs), *((value, 0) for value in states)]:
            if value.dtype.kind == "f":
                others = tuple(index for index in range(value.ndim) if index != axis)
                good &= self._xp.isfinite(value).all(axis=others)
        return good
