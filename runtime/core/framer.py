"""Samples in pieces of any length in, whole windows out; what is left over is carried.

Window ``k`` of a stream holds samples ``[k * hop - context, (k + 1) * hop)``, zeros before its
beginning. However the stream is cut into records, its windows are the same, bit for bit.
"""

from __future__ import annotations

import numpy as np

from edge_rnn.contract.framing import Framing
from runtime.core.carry import Table
from runtime.core.pieces import Pieces, by_stream


class Framer:
    """Cuts the samples of many streams into windows; ``table`` holds what each stream carries."""

    def __init__(self, framing: Framing) -> None:
        self._framing = framing
        kept = framing.context + framing.hop - 1
        self.table = Table(np.dtype([("left", "<i4"), ("samples", "<f4", (max(1, kept),))]))

    def cut(self, pieces: Pieces) -> Pieces:
        """Samples ``float32[total]`` of records to windows ``float32[total, width]``; see `Pieces`."""
        if self._is_even(pieces):
            return self._cut_evenly(pieces)
        hop, context, width = self._framing.hop, self._framing.context, self._framing.width
        windows: list[np.ndarray] = []
        starts, lengths = np.zeros_like(pieces.lengths), np.zeros_like(pieces.lengths)
        made = 0
        rows = self.table.rows
        for slot, records in by_stream(pieces):
            left = int(rows["left"][slot])
            sizes = pieces.lengths[records]
            given = [pieces.rows[s : s + n] for s, n in zip(pieces.starts[records], sizes, strict=True)]
            samples = np.concatenate([rows["samples"][slot][: context + left], *given])
            ends = (left + np.cumsum(sizes)) // hop
            count = int(ends[-1])
            if count:
                windows.append(np.lib.stride_tricks.sliding_window_view(samples, width)[::hop][:count])
            lengths[records] = np.diff(ends, prepend=0)
            starts[records] = made + ends - lengths[records]
            made += count
            rest = samples[count * hop :]
            rows["left"][slot] = rest.size - context
            rows["samples"][slot][: rest.size] = rest
        table = np.concatenate(windows) if windows else np.empty((0, width), np.float32)
        return Pieces(table, pieces.slots, starts, lengths)

    def _is_even(self, pieces: Pieces) -> bool:
        """Whether every record is one hop of a stream of its own that has nothing left over."""
        used = pieces.slots[pieces.lengths > 0]
        return (
            bool((pieces.lengths == self._framing.hop).all())
            and np.unique(used).size == used.size
            and not self.table.rows["left"][used].any()
        )

    def _cut_evenly(self, pieces: Pieces) -> Pieces:
        hop, context, n = self._framing.hop, self._framing.context, pieces.slots.size
        windows = np.empty((n, self._framing.width), np.float32)
        windows[:, :context] = self.table.rows["samples"][pieces.slots, :context]
        windows[:, context:] = pieces.rows[pieces.starts[:, None] + np.arange(hop)]
        self.table.rows["samples"][pieces.slots, :context] = windows[:, hop:]
        return Pieces(windows, pieces.slots, np.arange(n), np.ones(n, np.int64))
