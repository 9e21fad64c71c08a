"""What a codec gives and takes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np


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

    def decode(self, values: Sequence[bytes]) -> Decoded:
        """Read each value by itself: one that is bad spoils no other. Never raises for bad input."""


class Encoder(Protocol):
    """Writes the model's rows into values."""

    name: str

    def encode(self, outputs: Sequence[np.ndarray], starts: np.ndarray, lengths: np.ndarray) -> list[bytes]:
        """One value for each (start, length): ``outputs`` holds ``[total, *row]`` per manifest output."""


def as_table(output: np.ndarray) -> np.ndarray:
    """``[total, *row]`` as ``[total, width]``, also where total is 0."""
    return output.reshape(output.shape[0], math.prod(output.shape[1:]))


def refuse_non_finite(decoded: Decoded) -> Decoded:
    """Turn each value that holds NaN or infinity into an error: none of it reaches the model."""
    finite = np.isfinite(decoded.rows)
    if finite.all():
        return decoded
    bad_rows = np.flatnonzero(~finite.all(axis=1))
    used = np.flatnonzero(decoded.lengths)
    records = used[np.searchsorted(decoded.starts[used], bad_rows, side="right") - 1]
    lengths = decoded.lengths.copy()
    errors = dict(decoded.errors)
    for record, row in zip(records.tolist(), bad_rows.tolist(), strict=True):
        if lengths[record]:
            step = row - int(decoded.starts[record])
            column = int(np.flatnonzero(~finite[row])[0])
            errors[record] = f"row {step}, number {column} is {decoded.rows[row, column]}, expected a finite number"
            lengths[record] = 0
    return Decoded(decoded.rows, decoded.starts, lengths, errors)
