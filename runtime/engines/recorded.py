"""Calls recorded once and repeated: gather, step, judge and scatter over fixed arrays, for a few sizes of a call.

On a GPU a recording is a CUDA graph, so that a call costs one launch; the logic is the array module's, NumPy in tests.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from edge_rnn.contract.signature import Manifest
from runtime.core.device_arena import DeviceArena

BUCKETS = (1, 8, 64, 256, 1024, 4096)
"""Streams a call that are recorded; a call of fewer takes the next one, filled with a row that is nobody's."""


class Recorder(Protocol):
    """Takes what is to be repeated; gives what repeats it, and the arrays that each repetition fills anew."""

    def __call__(self, body: Callable[[], list[Any]], /) -> tuple[Callable[[], object], list[Any]]: ...


class Judge(Protocol):
    """Whether all that a stream has now is finite: bool[streams], on the device."""

    def __call__(self, outputs: Sequence[Any], states: Sequence[Any], streams: int, /) -> Any: ...


class Repeated:
    """A body that is run each time; its results are put where the first ones are."""

    def __init__(self, body: Callable[[], list[Any]], kept: list[Any]) -> None:
        self._body, self._kept = body, kept

    def __call__(self) -> None:
        """Run it."""
        for old, new in zip(self._kept, self._body(), strict=True):
            old[...] = new


def repeat(body: Callable[[], list[Any]], /) -> tuple[Callable[[], object], list[Any]]:
    """Records nothing: the body is run each time, with sizes and arrays that stay. See `Recorder`."""
    kept = [value.copy() for value in body()]
    return Repeated(body, kept), kept


class RecordedCalls:
    """Calls on the rows of an arena, a recording for each number of steps and each bucket of streams.

    While one is made its streams are all the arena's scratch row, so that no stream is stepped, however often the
    recorder runs the body. Streams whose results are not finite keep the states that they had.
    """

    def __init__(
        self,
        manifest: Manifest,
        step: Callable[[Sequence[Any], Sequence[Any]], tuple[list[Any], list[Any]]],
        arena: DeviceArena,
        xp: Any,
        record: Recorder,
        judge: Judge,
        buckets: Sequence[int] = BUCKETS,
    ) -> None:
        """``buckets`` in rising order; the last is the most streams of a call."""
        self._manifest = manifest
        self._step = step
        self._arena = arena
        self._xp = xp
        # a copy in any case, for the next call fills the same arrays
        self._to_host: Callable[[Any], np.ndarray] = getattr(xp, "asnumpy", np.array)
        self._record = record
        self._judge = judge
        self._buckets = tuple(buckets)
        self._made: dict[tuple[int, int], _Recording] = {}

    @property
    def most(self) -> int:
        """The most streams of a call."""
        return self._buckets[-1]

    @property
    def made(self) -> list[tuple[int, int]]:
        """Steps and bucket of each recording so far."""
        return list(self._made)

    def __call__(self, slots: np.ndarray, inputs: Sequence[np.ndarray]) -> tuple[list[np.ndarray], np.ndarray]:
        """As `runtime.engines.protocol.Engine.run`, for at most `most` streams that fit the device."""
        streams = slots.size
        key = (inputs[0].shape[0], self._buckets[bisect_left(self._buckets, streams)])
        recording = self._made.get(key)
        if recording is None:
            recording = self._made[key] = self._make(*key)
        rows = self._arena.enter(slots)
        index = np.full(key[1], self._arena.scratch, np.int64)
        index[:streams] = rows
        recording.index[...] = self._xp.asarray(index)
        for held, value in zip(recording.inputs, inputs, strict=True):
            held[:, :streams] = self._xp.asarray(np.ascontiguousarray(value, held.dtype))
        recording.replay()
        *outputs, good = recording.results
        found = self._to_host(good[:streams])
        self._arena.changed(rows[found])
        return [self._to_host(value[:, :streams]) for value in outputs], found

    def _make(self, steps: int, bucket: int) -> _Recording:
        index = self._xp.full(bucket, self._arena.scratch, np.int64)
        inputs = [self._xp.zeros((steps, bucket, *spec.row_shape), spec.dtype) for spec in self._manifest.inputs]

        def body() -> list[Any]:
            before = [self._xp.take(array, index, axis=0) for array in self._arena.arrays]
            outputs, after = self._step(inputs, before)
            good = self._judge(outputs, after, bucket)
            for array, old, new in zip(self._arena.arrays, before, after, strict=True):
                array[index] = self._xp.where(good.reshape(-1, *[1] * (old.ndim - 1)), new, old)
            return [*outputs, good]

        replay, results = self._record(body)
        return _Recording(index, inputs, replay, results)


class _Recording:
    """The arrays that a recording reads, what repeats it, and the arrays that it fills."""

    def __init__(self, index: Any, inputs: list[Any], replay: Callable[[], object], results: list[Any]) -> None:
        self.index, self.inputs, self.replay, self.results = index, inputs, replay, results
