"""``f32``: little-endian float32, features x rows, nothing else."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from runtime.codecs.protocol import Decoded, as_table, refuse_non_finite
from runtime.core.column import Cells, Column, as_column


class F32Decoder:
    """Reads values of 4 x ``width`` bytes a row into float32[total, width]."""

    name = "f32"

    def __init__(self, width: int) -> None:
        self._width = width
        self._row_bytes = 4 * width

    def decode(self, values: Cells) -> Decoded:
        """A value whose length is not a whole, positive number of rows is an error."""
        column = as_column(values)
        sizes = np.maximum(column.lengths, 0)
        lengths, rest = np.divmod(sizes, self._row_bytes)
        bad = np.flatnonzero((rest != 0) | (lengths == 0))
        errors: dict[int, str] = {}
        if bad.size:
            lengths[bad] = 0
            for index in bad.tolist():
                errors[index] = (
                    f"{sizes[index]} bytes, expected a multiple of {self._row_bytes} (float32 x {self._width})"
                )
            column = column.pick(np.flatnonzero(lengths))
        rows = np.frombuffer(column.packed.tobytes(), "<f4").reshape(-1, self._width)
        starts = np.cumsum(lengths) - lengths
        return refuse_non_finite(Decoded(rows, starts, lengths, errors))


class F32Encoder:
    """Writes the rows of the first output as they are."""

    name = "f32"

    def encode(self, outputs: Sequence[np.ndarray], starts: np.ndarray, lengths: np.ndarray) -> Cells:
        """One value for each (start, length), 4 bytes a number, little-endian."""
        first = np.ascontiguousarray(as_table(outputs[0]), "<f4")
        row_bytes = 4 * first.shape[1]
        return Column(first.reshape(-1).view(np.uint8), starts * row_bytes, lengths * row_bytes)
