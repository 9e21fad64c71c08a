"""The states of all streams: one array per state pair, one row per stream."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from edge_rnn.contract.signature import StateSpec

FEW = 16
"""So many rows are put back sooner one array at a time as they are."""

Rows = Callable[[StateSpec, int, np.ndarray | None], np.ndarray]
"""Where rows are kept: gives ``[capacity, *row]`` of a state pair, beginning with the rows given (``None``: none)."""


def in_memory(spec: StateSpec, capacity: int, before: np.ndarray | None) -> np.ndarray:
    """Rows in main memory."""
    rows = np.empty((capacity, *spec.row_shape), spec.dtype)
    if before is not None:
        rows[: len(before)] = before
    return rows


class Arena:
    """The states, in main memory unless ``rows`` says otherwise. Gather takes rows of some slots, scatter puts them back.

    ``first`` holds one stream's first value of each state, ``dtype[*row_shape]``. Scatter after
    gather with the same slots is the identity.
    """

    def __init__(
        self,
        specs: Sequence[StateSpec],
        first: Sequence[np.ndarray],
        capacity: int = 1024,
        rows: Rows = in_memory,
    ) -> None:
        self._specs = tuple(specs)
        self._first = [np.asarray(value, spec.dtype) for spec, value in zip(specs, first, strict=True)]
        self._rows = rows
        self._arrays = [rows(spec, capacity, None) for spec in specs]
        self._records = [_records(array) for array in self._arrays]
        self._capacity = capacity
        self.row_bytes = sum(spec.row_bytes for spec in specs)

    @property
    def capacity(self) -> int:
        """Rows there are."""
        return self._capacity

    def grow(self, capacity: int) -> None:
        """Make room for at least ``capacity`` rows; what is there stays."""
        if capacity <= self._capacity:
            return
        for index, spec in enumerate(self._specs):
            self._arrays[index] = self._rows(spec, capacity, self._arrays[index])
            self._records[index] = _records(self._arrays[index])
        self._capacity = capacity

    def reset(self, slots: np.ndarray) -> None:
        """Give these slots the first value of each state."""
        for array, value in zip(self._arrays, self._first, strict=True):
            array[slots] = value

    def first(self) -> list[np.ndarray]:
        """The states of one stream that has seen nothing: ``[1, *row]`` per state pair."""
        return [value[None] for value in self._first]

    def gather(self, slots: np.ndarray) -> list[np.ndarray]:
        """Copies of the states of these slots: ``[batch, *row]`` per state pair."""
        return [array.take(slots, axis=0) for array in self._arrays]  # half of what indexing costs

    def scatter(self, slots: np.ndarray, states: Sequence[np.ndarray]) -> None:
        """Put states back: ``[batch, *row]`` per state pair; ``slots`` has no repeats."""
        if slots.size <= FEW:
            for array, value in zip(self._arrays, states, strict=True):
                array[slots] = value
            return
        for records, array, value in zip(self._records, self._arrays, states, strict=True):
            if records.itemsize:
                records[slots] = _records(np.ascontiguousarray(value, array.dtype))

    def read(self, slots: np.ndarray) -> np.ndarray:
        """The states of these slots as bytes, the state pairs in order: uint8[n, row_bytes]."""
        rows = np.empty((slots.size, self.row_bytes), np.uint8)
        at = 0
        for spec, array in zip(self._specs, self._arrays, strict=True):
            if spec.row_bytes:
                rows[:, at : at + spec.row_bytes] = _table(array.take(slots, axis=0), slots.size).view(np.uint8)
            at += spec.row_bytes
        return rows

    def write(self, slots: np.ndarray, rows: np.ndarray) -> None:
        """The inverse of `read`."""
        at = 0
        for spec, array in zip(self._specs, self._arrays, strict=True):
            if spec.row_bytes:
                piece = np.ascontiguousarray(rows[:, at : at + spec.row_bytes])
                array[slots] = piece.view(spec.dtype).reshape(slots.size, *spec.row_shape)
            at += spec.row_bytes


def _records(rows: np.ndarray) -> np.ndarray:
    """``[n, *row]`` as n values of so many bytes, which are copied whole: void[n]."""
    width = math.prod(rows.shape[1:]) * rows.itemsize
    return rows.reshape(len(rows), -1).view(f"V{width}").reshape(-1) if width else np.empty(len(rows), "V0")


def _table(rows: np.ndarray, n: int) -> np.ndarray:
    """``[n, *row]`` as ``[n, width]``, also where n is 0."""
    return rows.reshape(n, math.prod(rows.shape[1:]))
