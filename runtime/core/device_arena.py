"""The states of all streams on a device that holds only some of them: the rest wait in host memory.

Written over `runtime.core.device.Device`: a GPU, or the host in its place for tests.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np

from edge_rnn.contract.errors import EngineError
from edge_rnn.contract.signature import StateSpec
from runtime.core.arena import Arena, Rows, in_memory
from runtime.core.device import Device, Layout, Lending, Mark, Pair

NOWHERE = -1

MOST_COPIES = 8
"""Copies to the host that may be under way; one more, and the oldest is waited for."""


class Reading:
    """States on their way to the host, as they were when it was begun. See `DeviceArena.begin_read`."""

    def __init__(self, rows: np.ndarray, missing: np.ndarray, copy: _Copy | None, land: Any) -> None:
        self._rows, self._missing, self._copy, self._land = rows, missing, copy, land

    def rows(self) -> np.ndarray:
        """Wait for them: uint8[n, row_bytes]. Raises what went wrong on the device."""
        if self._copy is not None:
            self._land(self._copy)
            self._rows[self._missing] = self._copy.rows
            self._copy = None
        return self._rows


class _Copy:
    """Rows of the device that are copied to the host, of the slots that had them then; ``rows`` once they are there."""

    def __init__(self, slots: np.ndarray, number: int, pair: Pair, mark: Mark) -> None:
        self.slots, self.number, self.pair, self.mark = slots, number, pair, mark
        self.rows: np.ndarray | None = None


class DeviceArena:
    """Like `runtime.core.arena.Arena`, but calls work on rows of `arrays` on the device, which `enter` gives them.

    A slot has a row in host memory, and while it is in use one on the device. Rows of slots used longest ago make room
    for others; only those that changed since they were last copied are copied back, and nobody waits for that until the
    slot is asked for again. One thread at a time.
    """

    def __init__(
        self,
        specs: Sequence[StateSpec],
        first: Sequence[np.ndarray],
        device: Device,
        rows: int,
        *,
        capacity: int = 1024,
        host: Rows = in_memory,
    ) -> None:
        """``rows``: how many streams the device holds; ``host``: where the others are kept."""
        self._host = Arena(specs, first, capacity, host)
        self._device, xp = device, device.xp
        self._lending = Lending(device)
        self.arrays = [xp.empty((rows + 1, *spec.row_shape), spec.dtype) for spec in specs]
        self.halted = xp.zeros(rows + 1, bool)
        """Rows that take no step until it has been looked at why the last one failed; see `runtime.engines.recorded`."""
        self._first = [xp.asarray(value, spec.dtype) for spec, value in zip(specs, first, strict=True)]
        for array, value in zip(self.arrays, self._first, strict=True):
            array[rows] = value
        self._row_of = np.full(capacity, NOWHERE, np.int64)
        self._slot_of = np.full(rows, NOWHERE, np.int64)
        self._used = np.zeros(rows, np.int64)
        self._dirty = np.zeros(rows, bool)
        self._calls = 0
        self._copied = np.zeros(capacity, np.int64)  # the number of the slot's copy that is under way, or 0
        self._under_way: deque[_Copy] = deque()
        self.rows = rows
        self.scratch = rows
        """A row of the device that is no slot's: calls of a fixed size are filled up with it."""
        self.version = 0
        """Changes when `arrays` are others."""
        self.row_bytes = self._host.row_bytes
        self.loaded = 0
        """Rows copied to the device so far."""
        self.saved = 0
        """Rows copied from the device so far, to make room or for a snapshot."""

    @property
    def capacity(self) -> int:
        """Slots there are."""
        return self._host.capacity

    def grow(self, capacity: int) -> None:
        """Make room for at least ``capacity`` slots, in host memory; what is there stays."""
        self._host.grow(capacity)
        more = self._host.capacity - self._row_of.size
        self._row_of = np.concatenate([self._row_of, np.full(more, NOWHERE, np.int64)])
        self._copied = np.concatenate([self._copied, np.zeros(more, np.int64)])

    def reset(self, slots: np.ndarray) -> None:
        """Give these slots the first value of each state."""
        self._host.reset(slots)
        self._copied[slots] = 0
        rows = self._present(slots)
        if rows.size:

            def begin_anew() -> None:
                index = self._device.xp.asarray(rows)
                for array, value in zip(self.arrays, self._first, strict=True):
                    array[index] = value

            self._device.queue.put(begin_anew)
            self._dirty[rows] = False

    def first(self) -> list[Any]:
        """The states of one stream that has seen nothing, on the device: ``[1, *row]`` per state pair."""
        return [value[None] for value in self._first]

    def enter(self, slots: np.ndarray) -> np.ndarray:
        """The rows of these slots, each on the device for what is put into its queue from now on: int64[n].

        Raises `EngineError` for more slots than the device has rows.
        """
        if slots.size > self.rows:
            raise EngineError(
                f"a call for {slots.size} streams does not fit a device with rows for {self.rows}; call for fewer"
            )
        self._calls += 1
        rows: np.ndarray = self._row_of[slots]
        absent = slots[rows == NOWHERE]
        if absent.size:
            room = self._make_room(absent.size, rows[rows != NOWHERE])
            self._load(absent, room)
            self._row_of[absent], self._slot_of[room], self._dirty[room] = room, absent, False
            self.loaded += absent.size
            rows = self._row_of[slots]
        self._used[rows] = self._calls
        return rows

    def changed(self, rows: np.ndarray) -> None:
        """These rows, which `enter` gave, get new values that the host has not."""
        self._dirty[rows] = True

    def begin_read(self, slots: np.ndarray) -> Reading:
        """Begin to copy the states of these slots as they are behind all calls so far; dirty rows only.

        The device's own queue goes on: it gathers the rows, and another queue takes them to the host.
        """
        rows = self._row_of[slots]
        dirty = rows != NOWHERE
        dirty[dirty] = self._dirty[rows[dirty]]
        there = slots[~dirty]
        self._land_those_of(there)
        found = np.empty((slots.size, self.row_bytes), np.uint8)
        found[~dirty] = self._host.read(there)
        return Reading(found, dirty, self._copy(rows[dirty]) if dirty.any() else None, self._land)

    def read(self, slots: np.ndarray) -> np.ndarray:
        """The states of these slots as bytes, the state pairs in order: uint8[n, row_bytes]. Copies dirty rows only."""
        return self.begin_read(slots).rows()

    def write(self, slots: np.ndarray, rows: np.ndarray) -> None:
        """The inverse of `read`."""
        self._host.write(slots, rows)
        self._copied[slots] = 0
        self._leave(self._present(slots))

    def _present(self, slots: np.ndarray) -> np.ndarray:
        """The rows of those of these slots that are on the device."""
        rows = self._row_of[slots]
        found: np.ndarray = rows[rows != NOWHERE]
        return found

    def _make_room(self, count: int, wanted: np.ndarray) -> np.ndarray:
        """Rows that are free or were used longest ago, and free now; ``wanted`` are not among them."""
        age = np.where(self._slot_of == NOWHERE, -1, self._used)
        age[wanted] = np.iinfo(np.int64).max
        rows: np.ndarray = np.argpartition(age, count - 1)[:count]
        held = rows[self._slot_of[rows] != NOWHERE]
        if (dirty := held[self._dirty[held]]).size:
            self._copy(dirty)
        self._leave(held)
        return rows

    def _leave(self, rows: np.ndarray) -> None:
        """These rows are nobody's."""
        self._row_of[self._slot_of[rows]] = NOWHERE
        self._slot_of[rows] = NOWHERE
        self._dirty[rows] = False

    def _load(self, slots: np.ndarray, rows: np.ndarray) -> None:
        """Put what the host has of these slots into these rows."""
        self._land_those_of(slots)
        device = self._device
        layout = Layout([((rows.size,), np.int64), ((rows.size, self.row_bytes), np.uint8)])
        pair = self._lending.take(layout.size)
        index, states = layout.views(pair.host[: layout.size])
        index[...], states[...] = rows, self._host.read(slots)
        device.up(pair, layout.size, device.queue)

        def spread() -> None:
            places, packed = layout.views(pair.device[: layout.size])
            device.moves.unpack(packed, self.arrays, places)

        device.queue.put(spread)
        self._lending.give(pair, device.queue.mark())

    def _copy(self, rows: np.ndarray) -> _Copy:
        """Begin to copy these rows to the host, where they land when they are asked for; they count as clean."""
        device, size = self._device, rows.size * self.row_bytes
        pair = self._lending.take(size)

        def gather() -> None:
            packed = pair.device[:size].reshape(rows.size, self.row_bytes)
            device.moves.pack(self.arrays, device.xp.asarray(rows), packed)

        device.queue.put(gather)
        device.copies.follow(device.queue.mark())
        device.down(pair, size, device.copies)
        self.saved += rows.size
        copy = _Copy(self._slot_of[rows], self.saved, pair, device.copies.mark())
        self._dirty[rows] = False
        self._copied[copy.slots] = copy.number
        self._under_way.append(copy)
        if len(self._under_way) > MOST_COPIES:
            self._land(self._under_way[0])
        return copy

    def _land_those_of(self, slots: np.ndarray) -> None:
        """Wait for the copies of these slots that are under way."""
        newest = int(self._copied[slots].max(initial=0))
        while self._under_way and self._under_way[0].number <= newest:
            self._land(self._under_way[0])

    def _land(self, copy: _Copy) -> None:
        """Wait for a copy; the host's rows get it, but for slots that have been given other states since."""
        if copy.rows is not None:
            return
        copy.mark.wait()
        n = copy.slots.size
        copy.rows = copy.pair.host[: n * self.row_bytes].reshape(n, self.row_bytes).copy()
        newest = self._copied[copy.slots] == copy.number
        self._host.write(copy.slots[newest], copy.rows[newest])
        self._copied[copy.slots[newest]] = 0
        self._under_way.remove(copy)
        self._lending.give(copy.pair, copy.mark)
