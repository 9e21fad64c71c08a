"""What a stream carries beside the model's states: rows of a table, one per slot, saved with the states."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np


class Carried(Protocol):
    """Something kept per stream. ``row_bytes`` is the size of one stream's share of a snapshot."""

    row_bytes: int

    def grow(self, capacity: int) -> None:
        """Make room for at least ``capacity`` streams."""

    def reset(self, slots: np.ndarray) -> None:
        """Give these slots what a stream has that has seen nothing."""

    def read(self, slots: np.ndarray) -> np.ndarray:
        """The rows of these slots as bytes: uint8[n, row_bytes]."""

    def write(self, slots: np.ndarray, rows: np.ndarray) -> None:
        """The inverse of `read`."""


class Table:
    """Rows of a structured type; a fresh row is ``first``, by default all zeros."""

    def __init__(self, dtype: np.dtype, first: dict[str, int] | None = None, capacity: int = 1024) -> None:
        self.rows = np.zeros(0, dtype)
        self.row_bytes = dtype.itemsize
        self._first = np.zeros((), dtype)
        for name, value in (first or {}).items():
            self._first[name] = value
        self.grow(capacity)

    def grow(self, capacity: int) -> None:
        """See `Carried`."""
        if capacity > self.rows.size:
            rows = np.full(capacity, self._first, self.rows.dtype)
            rows[: self.rows.size] = self.rows
            self.rows = rows

    def reset(self, slots: np.ndarray) -> None:
        """See `Carried`."""
        self.rows[slots] = self._first

    def read(self, slots: np.ndarray) -> np.ndarray:
        """See `Carried`."""
        return np.ascontiguousarray(self.rows[slots]).view(np.uint8).reshape(slots.size, self.row_bytes)

    def write(self, slots: np.ndarray, rows: np.ndarray) -> None:
        """See `Carried`."""
        self.rows[slots] = np.ascontiguousarray(rows).view(self.rows.dtype).reshape(slots.size)


class Together:
    """Several tables as one: their rows side by side."""

    def __init__(self, parts: Sequence[Carried]) -> None:
        self._parts = list(parts)
        self.row_bytes = sum(part.row_bytes for part in self._parts)

    def grow(self, capacity: int) -> None:
        """See `Carried`."""
        for part in self._parts:
            part.grow(capacity)

    def reset(self, slots: np.ndarray) -> None:
        """See `Carried`."""
        for part in self._parts:
            part.reset(slots)

    def read(self, slots: np.ndarray) -> np.ndarray:
        """See `Carried`."""
        return np.concatenate([part.read(slots) for part in self._parts], axis=1)

    def write(self, slots: np.ndarray, rows: np.ndarray) -> None:
        """See `Carried`."""
        at = 0
        for part in self._parts:
            part.write(slots, rows[:, at : at + part.row_bytes])
            at += part.row_bytes
