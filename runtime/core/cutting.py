"""Cutting the samples of many streams anew, whatever records they came in; streams that are alike together."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from runtime.core.pieces import Pieces, in_stream_order


class Cutter(Protocol):
    """What is done with a stream's samples depends on its history only by a number, its state."""

    def state(self, slots: np.ndarray) -> np.ndarray:
        """The state of these slots' streams: int64[n]."""

    def count(self, state: np.ndarray, taken: np.ndarray) -> np.ndarray:
        """Rows that so many samples give to a stream in this state: int64[n]."""

    def cut_alike(self, slots: np.ndarray, state: int, samples: np.ndarray) -> np.ndarray:
        """Samples ``float32[n, new]`` of ``n`` streams in one state: their rows ``float32[n, count, *row]``."""


def cut_by_stream(cutter: Cutter, pieces: Pieces, row: tuple[int, ...]) -> Pieces:
    """Samples ``float32[total]`` of records to the rows ``float32[total, *row]`` that each record completes."""
    lengths, starts = np.zeros_like(pieces.lengths), np.zeros_like(pieces.starts)
    order = in_stream_order(pieces)
    sizes, slots = pieces.lengths[order], pieces.slots[order]
    ends = np.cumsum(sizes)
    samples = pieces.rows[np.arange(sizes.sum()) + np.repeat(pieces.starts[order] - ends + sizes, sizes)]
    first = np.flatnonzero(np.r_[True, slots[1:] != slots[:-1]][: slots.size])
    begins, owners = (ends - sizes)[first], slots[first]
    state, new = cutter.state(owners), np.diff(np.r_[begins, samples.size])
    counts = cutter.count(state, new)
    places = np.cumsum(counts) - counts
    stream = np.repeat(np.arange(first.size), np.diff(np.r_[first, order.size]))
    reached = ends - begins[stream]
    before = cutter.count(state[stream], reached - sizes)
    lengths[order] = cutter.count(state[stream], reached) - before
    starts[order] = places[stream] + before
    made = np.empty((int(counts.sum()), *row), np.float32)
    _, group = np.unique(np.stack([state, new]), axis=1, return_inverse=True)
    for number in range(int(group.max(initial=-1)) + 1):
        members = np.flatnonzero(group.reshape(-1) == number)
        given = samples[begins[members][:, None] + np.arange(new[members[0]])]
        cut = cutter.cut_alike(owners[members], int(state[members[0]]), given)
        made[places[members][:, None] + np.arange(cut.shape[1])] = cut
    return Pieces(made, pieces.slots, starts, lengths)
