"""Many byte strings in one buffer: a column of keys or values that nobody has to take apart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import overload

import numpy as np

Cell = bytes | None


class Column(Sequence[Cell]):
    """A sequence of ``bytes`` or ``None``; entry ``i`` is ``data[starts[i] : starts[i] + lengths[i]]``.

    ``data`` is uint8[bytes], ``starts`` and ``lengths`` int64[n]; a length of -1 is ``None``.
    """

    __slots__ = ("data", "lengths", "starts")

    def __init__(self, data: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> None:
        self.data = data
        self.starts = starts
        self.lengths = lengths

    def __len__(self) -> int:
        return self.lengths.size

    @overload
    def __getitem__(self, index: int) -> Cell: ...
    @overload
    def __getitem__(self, index: slice) -> Column: ...
    def __getitem__(self, index: int | slice) -> Cell | Column:
        if isinstance(index, slice):
            return Column(self.data, self.starts[index], self.lengths[index])
        length = int(self.lengths[index])
        start = int(self.starts[index])
        return None if length < 0 else self.data[start : start + length].tobytes()

    def __iter__(self) -> Iterator[Cell]:
        return iter(self.tolist())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, (Column, list)) and self.tolist() == list(other)

    __hash__ = None  # type: ignore[assignment]

    def tolist(self) -> list[Cell]:
        """All entries, each an object of its own."""
        data = self.data.tobytes()
        ends = (self.starts + self.lengths).tolist()
        found: list[Cell] = [data[begin:end] for begin, end in zip(self.starts.tolist(), ends, strict=True)]
        for index in np.flatnonzero(self.lengths < 0).tolist():
            found[index] = None
        return found

    def pick(self, rows: np.ndarray) -> Column:
        """The entries at these places, in that order; the buffer is shared."""
        return Column(self.data, self.starts[rows], self.lengths[rows])

    @property
    def packed(self) -> np.ndarray:
        """The bytes of all entries, one after the other: uint8[sum of lengths]."""
        ends = self.starts + np.maximum(self.lengths, 0)
        if not self.lengths.size:
            return self.data[:0]
        if (self.starts[1:] == ends[:-1]).all():
            return self.data[self.starts[0] : ends[-1]]
        return np.frombuffer(b"".join(cell for cell in self.tolist() if cell), np.uint8)


Cells = Sequence[Cell]
"""A list or a `Column`."""


def as_column(cells: Cells) -> Column:
    """The same entries in one buffer."""
    if isinstance(cells, Column):
        return cells
    if None in cells:
        lengths = np.fromiter((-1 if cell is None else len(cell) for cell in cells), np.int64, len(cells))
        data = b"".join(cell for cell in cells if cell)
    else:
        lengths = np.fromiter(map(len, cells), np.int64, len(cells))  # type: ignore[arg-type]
        data = b"".join(cells)  # type: ignore[arg-type]
    sizes = np.maximum(lengths, 0)
    return Column(np.frombuffer(data, np.uint8), np.cumsum(sizes) - sizes, lengths)


def lengths_of(cells: Cells) -> np.ndarray:
    """The length of each entry, -1 for ``None``: int64[n]."""
    if isinstance(cells, Column):
        return cells.lengths
    return np.fromiter((-1 if cell is None else len(cell) for cell in cells), np.int64, len(cells))


def pick(cells: Cells, rows: np.ndarray) -> Cells:
    """The entries at these places, in that order."""
    return cells.pick(rows) if isinstance(cells, Column) else [cells[row] for row in rows.tolist()]


def nulls(cells: Cells) -> np.ndarray:
    """Where there is ``None``: int64[k], ascending."""
    if isinstance(cells, Column):
        return np.flatnonzero(cells.lengths < 0)
    if None not in cells:
        return np.empty(0, np.int64)
    return np.array([index for index, cell in enumerate(cells) if cell is None], np.int64)
