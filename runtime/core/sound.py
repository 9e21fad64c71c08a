"""Around the model for sound: samples to the windows it takes, its scores to segments, and what both remember."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from runtime.codecs.protocol import Decoded
from runtime.core.carry import Together
from runtime.core.framer import Framer
from runtime.core.pieces import Pieces
from runtime.core.resampler import Resampler
from runtime.core.segments import Segments


class Sound:
    """``carried``: what each stream has left over, and where it is in its segments; saved with the model's states."""

    def __init__(self, cutters: Sequence[Framer | Resampler], segments: Segments | None = None) -> None:
        """``cutters`` are applied one after the other; without ``segments`` every step's row is told."""
        self._cutters = cutters
        self._segments = segments
        self.carried = Together([part.table for part in (*cutters, *([segments] if segments else []))])

    def windows(self, decoded: Decoded, slots: np.ndarray, lengths: np.ndarray) -> tuple[Decoded, np.ndarray]:
        """Samples ``float32[total, 1]`` to windows ``float32[total, width]``, and windows a record ``int64[n]``.

        Record ``i`` of the stream in ``slots[i]`` has ``lengths[i]`` samples from ``decoded.starts[i]`` on.
        Without cutters, rows stay what they are.
        """
        if not self._cutters:
            return decoded, lengths
        pieces = Pieces(decoded.rows[:, 0], slots, decoded.starts, lengths)
        for cutter in self._cutters:
            pieces = cutter.cut(pieces)
        return Decoded(pieces.rows, pieces.starts, pieces.lengths, decoded.errors), pieces.lengths

    def told(
        self,
        rows: np.ndarray,
        slots: np.ndarray,
        starts: np.ndarray,
        lengths: np.ndarray,
        errors: Mapping[int, str],
    ) -> dict[int, bytes] | None:
        """What the segments tell of the model's rows, by record; one in ``errors`` is no step. ``None``: the rows."""
        if self._segments is None:
            return None
        counted = lengths.copy()
        if errors:
            counted[list(errors)] = 0
        return self._segments.follow(Pieces(rows, slots, starts, counted))
