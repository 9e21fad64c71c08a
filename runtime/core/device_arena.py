"""The states of all streams on a device that holds only some of them: the rest wait in host memory.

Written over an array module: CuPy on a GPU, NumPy in its place for tests.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from edge_rnn.contract.errors import EngineError
from edge_rnn.contract.signature import StateSpec
from runtime.core.arena import Arena, Rows, in_memory

NOWHERE = -1


class DeviceArena:
    """Like `runtime.core.arena.Arena`; gather gives arrays of ``xp``, and scatter takes them.

    A slot has a row in host memory, and while it is in use one on the device. Rows of slots used longest ago make room
    for others; only those that changed since they were last copied are copied back. One thread at a time.
    """

    def __init__(
        self,
        specs: Sequence[StateSpec],
        first: Sequence[np.ndarray],
        xp: Any,
        rows: int,
        *,
        capacity: int = 1024,
        host: Rows = in_memory,
    ) -> None:
        """``rows``: how many streams the device holds; ``host``: where the others are kept."""
        self._host = Arena(specs, first, capacity, host)
        self._xp = xp
        self._to_host: Callable[[Any], np.ndarray] = getattr(xp, "asnumpy", np.asarray)
        self.arrays = [xp.empty((rows + 1, *spec.row_shape), spec.dtype) for spec in specs]
        self._first = [xp.asarray(value, spec.dtype) for spec, value in zip(specs, first, strict=True)]
        for array, value in zip(self.arrays, self._first, strict=True):
            array[rows] = value
        self._row_of = np.full(capacity, NOWHERE, np.int64)
        self._slot_of = np.full(rows, NOWHERE, np.int64)
        self._used = np.zeros(rows, np.int64)
        self._dirty = np.zeros(rows, bool)
        self._calls = 0
        self.rows = rows
        self.scratch = rows
        """A row of the device that is no slot's: calls of a fixed size are filled up with it."""
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

    def reset(self, slots: np.ndarray) -> None:
        """Give these slots the first value of each state."""
        self._host.reset(slots)
        rows = self._present(slots)
        if rows.size:
            index = self._xp.asarray(rows)
            for array, value in zip(self.arrays, self._first, strict=True):
                array[index] = value
            self._dirty[rows] = False

    def first(self) -> list[Any]:
        """The states of one stream that has seen nothing, on the device: ``[1, *row]`` per state pair."""
        return [value[None] for value in self._first]

    def enter(self, slots: np.ndarray) -> np.ndarray:
        """The rows of these slots, each on the device now: int64[n], places in `arrays`.

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
            index = self._xp.asarray(room)
            for array, value in zip(self.arrays, self._host.gather(absent), strict=True):
                array[index] = self._xp.asarray(value)
            self._row_of[absent], self._slot_of[room], self._dirty[room] = room, absent, False
            self.loaded += absent.size
            rows = self._row_of[slots]
        self._used[rows] = self._calls
        return rows

    def gather(self, slots: np.ndarray) -> list[Any]:
        """Copies of the states of these slots, on the device: ``[batch, *row]`` per state pair.

        Raises `EngineError` for more slots than the device has rows.
        """
        index = self._xp.asarray(self.enter(slots))
        return [array[index] for array in self.arrays]

    def scatter(self, slots: np.ndarray, states: Sequence[Any]) -> None:
        """Put states back: ``[batch, *row]`` per state pair, on the device; ``slots`` has no repeats."""
        rows = self.enter(slots)
        index = self._xp.asarray(rows)
        for array, value in zip(self.arrays, states, strict=True):
            array[index] = value
        self.changed(rows)

    def changed(self, rows: np.ndarray) -> None:
        """These rows, which `enter` gave, have new values that the host has not."""
        self._dirty[rows] = True

    def read(self, slots: np.ndarray) -> np.ndarray:
        """The states of these slots as bytes, the state pairs in order: uint8[n, row_bytes]. Copies dirty rows only."""
        self._save(self._present(slots))
        return self._host.read(slots)

    def write(self, slots: np.ndarray, rows: np.ndarray) -> None:
        """The inverse of `read`."""
        self._host.write(slots, rows)
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
        self._save(held)
        self._leave(held)
        return rows

    def _save(self, rows: np.ndarray) -> None:
        """Copy what is dirty of these rows to the host."""
        dirty = rows[self._dirty[rows]]
        if dirty.size:
            index = self._xp.asarray(dirty)
            self._host.scatter(self._slot_of[dirty], [self._to_host(array[index]) for array in self.arrays])
            self._dirty[dirty] = False
            self.saved += dirty.size

    def _leave(self, rows: np.ndarray) -> None:
        """These rows are nobody's."""
        self._row_of[self._slot_of[rows]] = NOWHERE
        self._slot_of[rows] = NOWHERE
        self._dirty[rows] = False
