"""What a codec gives and takes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from runtime.core.column import Cells


@dataclass(frozen=True, slots=True)
class Decoded:
    """Rows of a batch of values.

    ``rows`` is ``dtype[total, width]``; value ``i`` holds ``lengths[i]`` rows from ``starts[i]``
    on (both int64[n]). A value that cannot be read has length 0 and its reason in ``errors``.
    """

    rows: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray
    errors: dict[int, str] = field(default_factory=dict)


class Decoder(Protocol):
    """Reads values into rows of the model's width."""

    name: str

    def decode(self, values: Cells) -> Decoded:
        """Read each value by itself: one that is bad spoils no other; ``None`` is bad. Never raises for bad input."""


class Encoder(Protocol):
    """Writes the model's rows into values."""

    name: str

    def encode(self, outputs: Sequence[np.ndarray], starts: np.ndarray, lengths: np.ndarray) -> Cells:
        """One value for each (start, length): ``outputs`` holds ``[total, *row]`` per manifest output."""


def as_table(output: np.ndarray) -> np.ndarray:
    """``[total, *row]`` as ``[total, width]``, also where total is 0."""
    return output.reshape(output.shape[0], math.prod(output.shape[1:]))


def refuse_non_finite(decoded: Decoded) -> Decoded:
    """Turn each value that holds NaN or infinity into an error: none of it reaches the model."""
    return _refuse(decoded, np.isfinite(decoded.rows), "a finite number")


def refuse_non_integers(decoded: Decoded, columns: Mapping[int, str]) -> Decoded:
    """Turn each value into an error that is no whole number of its type where the model takes integers.

    ``columns`` maps a column to its integer type.
    """
    for column, dtype in columns.items():
        found = decoded.rows[:, column]
        limits = np.iinfo(dtype)
        fits = np.ones(decoded.rows.shape, bool)
        fits[:, column] = (found == np.floor(found)) & (found >= limits.min) & (found <= limits.max)
        decoded = _refuse(decoded, fits, f"a whole number ({dtype})")
    return decoded


def _refuse(decoded: Decoded, fits: np.ndarray, expected: str) -> Decoded:
    """Values with a number that does not fit become errors; the first such number is named."""
    if fits.all():
        return decoded
    bad_rows = np.flatnonzero(~fits.all(axis=1))
    used = np.flatnonzero(decoded.lengths)
    records = used[np.searchsorted(decoded.starts[used], bad_rows, side="right") - 1]
    lengths = decoded.lengths.copy()
    errors = dict(decoded.errors)
    for record, row in zip(records.tolist(), bad_rows.tolist(), strict=True):
        if lengths[record]:
            step = row - int(decoded.starts[record])
            column = int(np.flatnonzero(~fits[row])[0])
            errors[record] = f"row {step}, number {column} is {decoded.rows[row, column]}, expected {expected}"
            lengths[record] = 0
    return Decoded(decoded.rows, decoded.starts, lengths, errors)
