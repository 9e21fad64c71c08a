"""What is done around the model in each call: rows of states are taken, its results are looked at, and put back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np


class Moves(Protocol):
    """Moves rows between arrays of a device, by work that the caller puts into its queue.

    ``arrays`` are an arena's: ``[rows, *row]`` each, contiguous. ``index``: int64[n], a row for each stream of a call; none
    is there twice, but for one that is nobody's.
    """

    def take(self, arrays: Sequence[Any], index: Any, axes: Sequence[int], /) -> list[Any]:
        """These rows of each array: ``[n, *row]``. In memory the streams may be the axis that ``axes`` says."""

    def settle(self, made: Made, index: Any, halted: Any, scratch: int, good: Any, /) -> None:
        """Look at what a call has made, and keep it.

        A stream is good if all that it has now is finite and its row was not ``halted``, bool[rows]; its states go to
        their row. That of any other is left as it is, and halts. ``good``, bool[n], gets which are, and the rooms all
        outputs. What is in row ``scratch`` is undefined.
        """

    def pack(self, arrays: Sequence[Any], index: Any, packed: Any, /) -> None:
        """These rows of all arrays as bytes, one array behind the other: into ``packed``, uint8[n, row_bytes]."""

    def unpack(self, packed: Any, arrays: Sequence[Any], index: Any, /) -> None:
        """The inverse of `pack`."""


class Made:
    """What a call has made: outputs ``[time, n, *row]`` and the rooms for them, new states ``[n, *row]`` and their arrays."""

    def __init__(
        self, outputs: Sequence[Any], rooms: Sequence[Any], states: Sequence[Any], arrays: Sequence[Any]
    ) -> None:
        """As many rooms as outputs, as many arrays as states, of their types. Rooms and arrays are contiguous."""
        self.outputs = tuple(zip(outputs, rooms, strict=True))
        self.states = tuple(zip(states, arrays, strict=True))


class PlainMoves:
    """Any array module's own statements; see `Moves`."""

    def __init__(self, xp: Any) -> None:
        self._xp = xp

    def take(self, arrays: Sequence[Any], index: Any, axes: Sequence[int], /) -> list[Any]:
        """In the order of the streams."""
        return [self._xp.take(array, index, axis=0) for array in arrays]

    def settle(self, made: Made, index: Any, halted: Any, scratch: int, good: Any, /) -> None:
        """What is bad goes to ``scratch``, where nobody looks."""
        fine = self._finite(made, index.shape[0]) & ~halted[index]
        halted[index] = ~fine
        chosen = self._xp.where(fine, index, scratch)
        for new, array in made.states:
            array[chosen] = new
        for value, room in made.outputs:
            room[...] = value
        good[...] = fine

    def _finite(self, made: Made, streams: int) -> Any:
        """Whether all that a stream has now is: bool[streams]."""
        xp = self._xp
        fine = xp.ones(streams, bool)
        for value, axis in [*((value, 1) for value, _ in made.outputs), *((value, 0) for value, _ in made.states)]:
            if value.dtype.kind == "f":
                others = tuple(index for index in range(value.ndim) if index != axis)
                fine &= xp.isfinite(value).all(axis=others)
        return fine

    def pack(self, arrays: Sequence[Any], index: Any, packed: Any, /) -> None:
        """An array after the other."""
        at = 0
        for array in arrays:
            if width := row_bytes(array):
                packed[:, at : at + width] = array[index].reshape(packed.shape[0], -1).view(np.uint8)
            at += width

    def unpack(self, packed: Any, arrays: Sequence[Any], index: Any, /) -> None:
        """An array after the other."""
        at = 0
        for array in arrays:
            if width := row_bytes(array):
                piece = self._xp.ascontiguousarray(packed[:, at : at + width]).view(array.dtype)
                array[index] = piece.reshape(packed.shape[0], *array.shape[1:])
            at += width


def row_bytes(array: Any) -> int:
    """Bytes of one row of an array."""
    return int(np.prod(array.shape[1:], dtype=np.int64)) * int(array.dtype.itemsize)
