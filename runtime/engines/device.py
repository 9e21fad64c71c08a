"""A step function on a device, with the states of the streams in use kept there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import Any, Protocol

import numpy as np

from edge_rnn.contract.errors import EngineError
from edge_rnn.contract.signature import Manifest
from runtime.core.arena import Rows, in_memory
from runtime.core.device import Device
from runtime.core.device_arena import DeviceArena
from runtime.core.shared_arena import SharedArena
from runtime.engines.protocol import Begun
from runtime.engines.recorded import DEPTH, DeviceCalls, Recorder, Results, Running
from runtime.engines.tuning import Tuning


class DeviceStep(Protocol):
    """Like `edge_rnn.contract.stepgraph.Step`, with arrays of the device's array module. Raises `EngineError`."""

    def __call__(self, inputs: Sequence[Any], states: Sequence[Any], /) -> tuple[list[Any], list[Any]]: ...


class DeviceEngine:
    """Gather, step and scatter on a device; one upload of inputs and one download of outputs a call, two under way.

    See `runtime.engines.protocol.OverlappingEngine`. Calls from several threads take turns.
    """

    def __init__(
        self,
        manifest: Manifest,
        step: DeviceStep,
        first: Sequence[np.ndarray],
        device: Device,
        rows: int | None,
        *,
        host: Rows = in_memory,
        tuning: Tuning = Tuning(),  # noqa: B008 (it does not change)
        record: Recorder | None = None,
        most: int | None = None,
        how: str = "",
    ) -> None:
        """``first``: one stream's first value of each state, ``[*row]``; ``rows``, ``host``: see `DeviceArena`.

        ``rows`` ``None``: the states are in memory that host and device share (`SharedArena`). ``record``: calls are
        recorded once for each of a few sizes, and repeated; ``most``: streams that ``step`` takes in a call.
        ``how`` calls are made, in a word.
        """
        self.manifest = manifest
        self.tuning = tuning
        self.how = how
        self._device = device
        self.arena: DeviceArena | SharedArena = (
            SharedArena(manifest.states, first, device)
            if rows is None
            else DeviceArena(manifest.states, first, device, rows, host=host)
        )
        self._lock = Lock()
        self._unasked = False
        """Whether there is a call in parts, which is over, whose results have not been asked for."""
        self.calls = DeviceCalls(manifest, step, self.arena, device, record)
        bounds = [bound for bound in (rows, most, self.calls.most) if bound is not None]
        self._most = min(bounds, default=None)

    @property
    def step(self) -> DeviceStep:
        """What a call runs."""
        return self.calls.step

    @step.setter
    def step(self, step: DeviceStep) -> None:
        self.calls.step = step

    def grow(self, capacity: int) -> None:
        """Make room for at least ``capacity`` streams."""
        with self._turn():
            self.arena.grow(capacity)

    def reset(self, slots: np.ndarray) -> None:
        """Give these slots the states of a stream that has seen nothing."""
        with self._turn():
            self.arena.reset(slots)

    def begin(self, slots: np.ndarray, inputs: Sequence[np.ndarray]) -> Begun | None:
        """Put a call behind those under way; see the protocol."""
        with self._turn():
            if self.calls.under_way >= DEPTH or self._unasked:
                return None
            if self._most is None or slots.size <= self._most:
                with self._told(slots.size):
                    return _Call(self, self.calls.begin(slots, inputs), slots.size)
            if self.calls.under_way:
                return None
            results = self._in_parts(slots, inputs)
            self._unasked = True
            return _Done(self, results)

    def run(self, slots: np.ndarray, inputs: Sequence[np.ndarray]) -> Results:
        """Gather, step, scatter; see the protocol. More streams than it takes go in several calls."""
        with self._turn():
            if self._most is None or slots.size <= self._most:
                return self._whole(slots, inputs)
            return self._in_parts(slots, inputs)

    def works(self) -> bool:
        """Whether one step of zeros from the first states succeeds."""
        xp = self._device.xp
        with self._turn():
            try:
                self._device.queue.mark().wait()
                zeros = [xp.zeros((1, 1, *spec.row_shape), spec.dtype) for spec in self.manifest.inputs]
                self.step(zeros, self.arena.first())
                self._device.queue.mark().wait()
            except (EngineError, MemoryError, RuntimeError):
                return False
        return True

    def begin_read(self, slots: np.ndarray) -> Callable[[], np.ndarray]:
        """Begin to copy states to the host; see the protocol."""
        with self._turn(), self._told(slots.size):
            reading = self.arena.begin_read(slots)

        def rows() -> np.ndarray:
            with self._turn(), self._told(slots.size):
                return reading.rows()

        return rows

    def read(self, slots: np.ndarray) -> np.ndarray:
        """States as bytes: uint8[n, state_bytes]."""
        with self._turn(), self._told(slots.size):
            return self.arena.read(slots)

    def write(self, slots: np.ndarray, rows: np.ndarray) -> None:
        """The inverse of `read`."""
        with self._turn():
            self.arena.write(slots, rows)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        with self._lock, self._device.entered():
            yield

    @contextmanager
    def _told(self, streams: int) -> Iterator[None]:
        try:
            yield
        except (MemoryError, RuntimeError) as error:  # CuPy's own are of these
            raise EngineError(
                f"the device failed on {streams} streams of {self.manifest.name!r}: {error or type(error).__name__};"
                " run it with --device cpu"
            ) from error

    def _whole(self, slots: np.ndarray, inputs: Sequence[np.ndarray]) -> Results:
        with self._told(slots.size):
            return self.calls.begin(slots, inputs).result()

    def _in_parts(self, slots: np.ndarray, inputs: Sequence[np.ndarray]) -> Results:
        """In calls of as many streams as one takes; all states are as they were when one of them fails."""
        before, parts = self.arena.read(slots), []
        assert self._most is not None
        try:
            for start in range(0, slots.size, self._most):
                some = slice(start, start + self._most)
                parts.append(self._whole(slots[some], [value[:, some] for value in inputs]))
        except EngineError:
            self.arena.write(slots, before)
            raise
        outputs = [np.concatenate(values, axis=1) for values in zip(*(part[0] for part in parts), strict=True)]
        return outputs, np.concatenate([part[1] for part in parts])


class _Done:
    """A call that is over, behind which none is begun before its results have been looked at."""

    def __init__(self, engine: DeviceEngine, results: Results) -> None:
        self._engine, self._results = engine, results

    def result(self) -> Results:
        """What it gave."""
        self._engine._unasked = False
        return self._results


class _Call:
    """A call under way."""

    def __init__(self, engine: DeviceEngine, running: Running, streams: int) -> None:
        self._engine, self._running, self._streams = engine, running, streams

    def result(self) -> Results:
        """Wait for it."""
        with self._engine._turn(), self._engine._told(self._streams):
            return self._running.result()
