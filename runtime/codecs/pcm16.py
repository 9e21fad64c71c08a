"""``pcm16``: mono samples, signed, 16 bits, little-endian, in pieces of any length."""

from __future__ import annotations

import numpy as np

from runtime.codecs.protocol import Decoded
from runtime.core.column import Cells, as_column

FULL_SCALE = 32768.0
"""A sample divided by this lies in [-1, 1)."""


class Pcm16Decoder:
    """Reads samples into float32[total, 1], each divided by 32768."""

    name = "pcm16"

    def decode(self, values: Cells) -> Decoded:
        """A value of an odd number of bytes, or of none, is an error."""
        column = as_column(values)
        sizes = np.maximum(column.lengths, 0)
        lengths, odd = np.divmod(sizes, 2)
        bad = np.flatnonzero((odd != 0) | (lengths == 0))
        errors: dict[int, str] = {}
        if bad.size:
            lengths[bad] = 0
            for index in bad.tolist():
                errors[index] = f"{sizes[index]} bytes, expected samples of 2 bytes each"
            column = column.pick(np.flatnonzero(lengths))
        samples = np.frombuffer(column.packed.tobytes(), "<i2").astype(np.float32) / np.float32(FULL_SCALE)
        return Decoded(samples[:, None], np.cumsum(lengths) - lengths, lengths, errors)
