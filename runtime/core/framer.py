"""Samples in pieces of any length in, whole windows out; what is left over is carried.

Window ``k`` of a stream holds samples ``[k * hop - context, (k + 1) * hop)``, zeros before its
beginning. However the stream is cut into records, its windows are the same, bit for bit.
"""

from __future__ import annotations

import numpy as np

from edge_rnn.contract.framing import Framing
from runtime.core.carry import Table
from runtime.core.cutting import cut_by_stream
from runtime.core.pieces import Pieces


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
        return cut_by_stream(self, pieces, (self._framing.width,))

    def state(self, slots: np.ndarray) -> np.ndarray:
        """Samples left over behind the last window."""
        return np.asarray(self.table.rows["left"][slots], np.int64)

    def count(self, state: np.ndarray, taken: np.ndarray) -> np.ndarray:
        """See `runtime.core.cutting.Cutter`."""
        return np.asarray((state + taken) // self._framing.hop)

    def cut_alike(self, slots: np.ndarray, state: int, samples: np.ndarray) -> np.ndarray:
        """See `runtime.core.cutting.Cutter`."""
        hop, context, width = self._framing.hop, self._framing.context, self._framing.width
        rows = self.table.rows
        whole = np.concatenate([rows["samples"][slots, : context + state], samples], axis=1)
        end = (state + samples.shape[1]) // hop * hop
        rest = whole[:, end:]
        rows["left"][slots] = rest.shape[1] - context
        rows["samples"][slots, : rest.shape[1]] = rest
        if not end:
            return np.empty((slots.size, 0, width), np.float32)
        return np.lib.stride_tricks.sliding_window_view(whole, width, axis=1)[:, :end:hop]

    def _is_even(self, pieces: Pieces) -> bool:
        """Whether every record is one hop, in record order, of a stream that has nothing left over."""
        hop, context, n = self._framing.hop, self._framing.context, pieces.slots.size
        return (
            context <= hop
            and pieces.rows.size == n * hop
            and bool((pieces.lengths == hop).all())
            and bool((pieces.starts == np.arange(n) * hop).all())
            and not self.table.rows["left"][pieces.slots].any()
        )

    def _cut_evenly(self, pieces: Pieces) -> Pieces:
        """A window a record: its hop behind the end of the record before it, or behind what is carried."""
        hop, context, n = self._framing.hop, self._framing.context, pieces.slots.size
        carried = self.table.rows["samples"]
        windows = np.empty((n, self._framing.width), np.float32)
        hops = pieces.rows.reshape(n, hop)
        windows[:, context:] = hops
        order = np.argsort(pieces.slots, kind="stable")
        slots = pieces.slots[order]
        changes = slots[1:] != slots[:-1]
        first, last = order[np.r_[True, changes][:n]], order[np.r_[changes, True][:n]]
        windows[first, :context] = carried[pieces.slots[first], :context]
        windows[order[1:][~changes], :context] = hops[order[:-1][~changes], hop - context :]
        carried[pieces.slots[last], :context] = windows[last, hop:]
        return Pieces(windows, pieces.slots, np.arange(n), np.ones(n, np.int64))
