"""Calls of a device: take, step and settle over fixed arrays, recorded for a few sizes; two under way at once.

On a GPU a recording is a CUDA graph, so that a call costs one copy up, one launch and one copy down. The logic is that of
`runtime.core.device.Device`: a GPU, or the host in its place for tests.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from edge_rnn.contract.signature import Manifest
from runtime.core.device import Device, Layout, Mark, Pair
from runtime.core.device_arena import DeviceArena
from runtime.core.moves import Made
from runtime.core.shared_arena import SharedArena

BUCKETS = (1, 8, 64, 256, 1024, 4096)
"""Streams a call that are recorded; a call of fewer takes the next one, filled with a row that is nobody's."""

DEPTH = 2
"""Most calls under way: one on the device, one behind it."""

Results = tuple[list[np.ndarray], np.ndarray]


class Recorder(Protocol):
    """Takes what is to be repeated, work on arrays that stay; gives what repeats it."""

    def __call__(self, body: Callable[[], None], /) -> Callable[[], object]: ...


def repeat(body: Callable[[], None], /) -> Callable[[], object]:
    """Records nothing: the body is run each time. See `Recorder`."""
    return body


class _Place:
    """Buffers of one call under way; they grow, while it is free, to what calls need."""

    def __init__(self, device: Device, number: int) -> None:
        self._device = device
        self.number = number
        self.free = True
        self._up = self._down = Pair(np.empty(0, np.uint8), None)

    def rooms(self, up: int, down: int) -> tuple[Pair, Pair]:
        """Buffers of at least so many bytes for what goes up and what comes down."""
        if self._up.host.size < up:
            self._up = self._device.room(1 << (up - 1).bit_length())
        if self._down.host.size < down:
            self._down = self._device.room(1 << (down - 1).bit_length())
        return self._up, self._down


class _Recording:
    """What repeats calls of one size, the buffers of the device that it reads and fills, and how they are laid out."""

    def __init__(
        self, up: Layout, down: Layout, device_up: Any, device_down: Any, hosts: tuple[np.ndarray, np.ndarray] | None
    ) -> None:
        """``hosts``: the host's buffers, where they are the device's; otherwise those of the call's place are copied."""
        self.up, self.down, self.device_up, self.device_down, self.hosts = up, down, device_up, device_down, hosts
        self.replay: Callable[[], object] = lambda: None


class Running:
    """A call under way; see `DeviceCalls.begin`."""

    def __init__(self, mark: Mark, read: Callable[[], Results], over: Callable[[np.ndarray | None], None]) -> None:
        self._mark, self._read, self._over = mark, read, over

    def result(self) -> Results:
        """Wait for it. Asked for once. Raises what went wrong on the device: all states are then undefined."""
        good = None
        try:
            self._mark.wait()
            outputs, good = self._read()
        finally:
            self._over(good)
        return outputs, good


class DeviceCalls:
    """Calls on the rows of an arena, a recording for each number of steps and each bucket of streams.

    While one is made its streams are all the arena's scratch row, so that no stream is stepped, however often the
    recorder runs the body. A stream whose results are not finite keeps the states that it had, and takes no step in
    calls behind: until all calls under way have been looked at, it is not good in those either.
    """

    def __init__(
        self,
        manifest: Manifest,
        step: Callable[[Sequence[Any], Sequence[Any]], tuple[list[Any], list[Any]]],
        arena: DeviceArena | SharedArena,
        device: Device,
        record: Recorder | None = None,
        buckets: Sequence[int] = BUCKETS,
    ) -> None:
        """``record`` ``None``: calls have the size that they have, and nothing is recorded.

        ``buckets`` in rising order; the last is the most streams of a recorded call.
        """
        self._manifest = manifest
        self.step = step
        self._arena = arena
        self._device = device
        self._record = record
        self._buckets = tuple(buckets)
        self._made: dict[tuple[int, int, int], _Recording] = {}
        self._version = arena.version
        self._places = [_Place(device, number) for number in range(DEPTH + 1)]
        self._under_way = 0
        self._halted = False

    @property
    def most(self) -> int | None:
        """The most streams of a call; ``None``: any."""
        return None if self._record is None else self._buckets[-1]

    @property
    def made(self) -> list[tuple[int, int]]:
        """Steps and bucket of each recording so far."""
        return [(steps, bucket) for steps, bucket, _ in self._made]

    @property
    def under_way(self) -> int:
        """Calls that were begun and whose results have not been asked for."""
        return self._under_way

    def begin(self, slots: np.ndarray, inputs: Sequence[np.ndarray]) -> Running:
        """Put a call behind those under way, of which there are at most `DEPTH`.

        For at most `most` streams, which the arena has rows for. Raises what can be told at once; the states are then
        as they were.
        """
        place = next(place for place in self._places if place.free)
        recording = self._recording(inputs[0].shape[0], slots.size, place)
        rows = self._arena.enter(slots)
        up, down = recording.hosts or [pair.host for pair in place.rooms(recording.up.size, recording.down.size)]
        self._fill(recording.up.views(up[: recording.up.size]), rows, inputs)
        queue = self._device.queue
        if recording.hosts is None:
            queue.copy(up[: recording.up.size], recording.device_up)
        queue.put(recording.replay)
        if recording.hosts is None:
            queue.copy(recording.device_down, down[: recording.down.size])
        mark = queue.mark()
        self._arena.changed(rows)
        place.free = False
        self._under_way += 1

        def read() -> Results:
            *outputs, good = recording.down.views(down[: recording.down.size])
            return [value[:, : slots.size].copy() for value in outputs], good[: slots.size].copy()

        def over(good: np.ndarray | None) -> None:
            place.free = True
            self._under_way -= 1
            self._halted |= good is None or not good.all()
            if self._halted and not self._under_way:
                self._halted = False
                self._device.queue.put(lambda: self._arena.halted.fill(False))

        return Running(mark, read, over)

    def _fill(self, views: Sequence[np.ndarray], rows: np.ndarray, inputs: Sequence[np.ndarray]) -> None:
        """Rows and inputs into the buffer that goes up; streams beyond are scratch with zeros."""
        index, *held = views
        index[: rows.size], index[rows.size :] = rows, self._arena.scratch
        for room, value in zip(held, inputs, strict=True):
            room[:, : rows.size], room[:, rows.size :] = value, 0

    def _recording(self, steps: int, streams: int, place: _Place) -> _Recording:
        if self._record is None:
            return self._make(steps, streams, place, repeat)
        if self._arena.version != self._version:  # the arrays that were recorded are gone
            self._device.queue.mark().wait()
            self._made.clear()
            self._version = self._arena.version
        bucket = self._buckets[bisect_left(self._buckets, streams)]
        key = (steps, bucket, place.number if self._device.shared else 0)
        if key not in self._made:
            self._made[key] = self._make(steps, bucket, place, self._record)
        return self._made[key]

    def _make(self, steps: int, bucket: int, place: _Place, record: Recorder) -> _Recording:
        recording = self._laid_out(steps, bucket, place)
        moves, arena = self._device.moves, self._arena
        axes = [state.batch_axis for state in self._manifest.states]
        index, *inputs = recording.up.views(recording.device_up)
        *rooms, good = recording.down.views(recording.device_down)

        def body() -> None:
            before = moves.take(arena.arrays, index, axes)
            outputs, after = self.step(inputs, before)
            moves.settle(Made(outputs, rooms, after, arena.arrays), index, arena.halted, arena.scratch, good)

        if record is repeat:
            recording.replay = body
            return recording
        self._device.queue.mark().wait()
        index[...] = arena.scratch
        for value in inputs:
            value[...] = 0
        recording.replay = record(body)
        return recording

    def _laid_out(self, steps: int, bucket: int, place: _Place) -> _Recording:
        manifest, device = self._manifest, self._device
        up = Layout([((bucket,), np.int64)] + [((steps, bucket, *s.row_shape), s.dtype) for s in manifest.inputs])
        down = Layout(
            [((1 if s.time_axis is None else steps, bucket, *s.row_shape), s.dtype) for s in manifest.outputs]
            + [((bucket,), np.bool_)]
        )
        if self._record is None:
            pairs = place.rooms(up.size, down.size)
        elif device.shared:
            pairs = device.room(up.size), device.room(down.size)
        else:
            return _Recording(up, down, device.xp.empty(up.size, np.uint8), device.xp.empty(down.size, np.uint8), None)
        hosts = (pairs[0].host, pairs[1].host) if device.shared else None
        return _Recording(up, down, pairs[0].device[: up.size], pairs[1].device[: down.size], hosts)
