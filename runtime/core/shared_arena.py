"""The states of all streams in memory that host and device share: nothing spills, and nothing is copied between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edge_rnn.contract.signature import StateSpec
from runtime.core.device import Device, Lending, Mark, Pair

SCRATCH = 1
"""Rows before those of the slots."""


class SharedReading:
    """States as they were when it was begun; see `SharedArena.begin_read`."""

    def __init__(self, pair: Pair, shape: tuple[int, int], mark: Mark, lending: Lending) -> None:
        self._pair, self._shape, self._mark, self._lending = pair, shape, mark, lending
        self._rows: np.ndarray | None = None

    def rows(self) -> np.ndarray:
        """Wait for them: uint8[n, row_bytes]. Raises what went wrong on the device."""
        if self._rows is None:
            self._mark.wait()
            n, width = self._shape
            self._rows = self._pair.host[: n * width].reshape(n, width).copy()
            self._lending.give(self._pair, self._mark)
        return self._rows


class SharedArena:
    """Like `runtime.core.device_arena.DeviceArena`, where ``device.shared``. A slot's row never moves but in `grow`."""

    def __init__(
        self, specs: Sequence[StateSpec], first: Sequence[np.ndarray], device: Device, *, capacity: int = 1024
    ) -> None:
        self._specs = tuple(specs)
        self._device, self._lending = device, Lending(device)
        self._first = [np.asarray(value, spec.dtype) for spec, value in zip(specs, first, strict=True)]
        self._first_there = [device.xp.asarray(value) for value in self._first]
        self.row_bytes = sum(spec.row_bytes for spec in specs)
        self.capacity = 0
        self._hosts: list[np.ndarray] = []
        self.arrays: list[Any] = []
        self.halted: Any = None
        """See `DeviceArena.halted`."""
        self.scratch = 0
        self.version = 0
        """Changes when `arrays` are others: what was recorded with them before is void."""
        self.loaded = self.saved = 0
        """Nothing is copied."""
        self.grow(capacity)

    @property
    def rows(self) -> int:
        """Streams that a call may be for: any."""
        return self.capacity

    def grow(self, capacity: int) -> None:
        """Make room for at least ``capacity`` slots; what is there stays. Waits for all that is under way."""
        if capacity <= self.capacity:
            return
        self._device.queue.mark().wait()
        hosts, arrays = [], []
        for number, spec in enumerate(self._specs):
            pair = self._device.room(max(1, (capacity + SCRATCH) * spec.row_bytes))
            size = (capacity + SCRATCH) * spec.row_bytes
            shape = (capacity + SCRATCH, *spec.row_shape)
            host = pair.host[:size].view(spec.dtype).reshape(shape)
            if self._hosts:
                host[: self.capacity + SCRATCH] = self._hosts[number]
            host[0] = self._first[number]
            hosts.append(host)
            arrays.append(pair.device[:size].view(spec.dtype).reshape(shape))
        self._hosts, self.arrays = hosts, arrays
        self.halted = self._device.xp.zeros(capacity + SCRATCH, bool)
        self.capacity = capacity
        self.version += 1

    def reset(self, slots: np.ndarray) -> None:
        """Give these slots the first value of each state."""
        rows = slots + SCRATCH

        def begin_anew() -> None:
            index = self._device.xp.asarray(rows)
            for array, value in zip(self.arrays, self._first_there, strict=True):
                array[index] = value

        self._device.queue.put(begin_anew)

    def first(self) -> list[Any]:
        """The states of one stream that has seen nothing: ``[1, *row]`` per state pair."""
        return [value[None] for value in self._first_there]

    def enter(self, slots: np.ndarray) -> np.ndarray:
        """The rows of these slots in `arrays`: int64[n]."""
        return np.asarray(slots + SCRATCH, np.int64)

    def changed(self, rows: np.ndarray) -> None:
        """Nothing has to be noted."""

    def begin_read(self, slots: np.ndarray) -> SharedReading:
        """Begin to gather the states of these slots as they are behind all calls so far."""
        rows, size = slots + SCRATCH, max(1, slots.size * self.row_bytes)
        pair, arrays = self._lending.take(size), self.arrays
        shape = (slots.size, self.row_bytes)

        def gather() -> None:
            packed = pair.device[: slots.size * self.row_bytes].reshape(shape)
            self._device.moves.pack(arrays, self._device.xp.asarray(rows), packed)

        if slots.size:
            self._device.queue.put(gather)
        return SharedReading(pair, shape, self._device.queue.mark(), self._lending)

    def read(self, slots: np.ndarray) -> np.ndarray:
        """The states of these slots as bytes, the state pairs in order: uint8[n, row_bytes]."""
        return self.begin_read(slots).rows()

    def write(self, slots: np.ndarray, rows: np.ndarray) -> None:
        """The inverse of `read`. Waits for all that is under way."""
        self._device.queue.mark().wait()
        at = 0
        for spec, host in zip(self._specs, self._hosts, strict=True):
            if spec.row_bytes:
                piece = np.ascontiguousarray(rows[:, at : at + spec.row_bytes])
                host[slots + SCRATCH] = piece.view(spec.dtype).reshape(slots.size, *spec.row_shape)
            at += spec.row_bytes
