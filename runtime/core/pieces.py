"""What the records of a batch hold, as rows of one array, and whose they are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Pieces:
    """Record ``i`` of the stream in ``slots[i]`` (-1: none) holds ``rows[starts[i] : starts[i] + lengths[i]]``.

    ``slots``, ``starts`` and ``lengths`` are int64[n], records of a stream in its order.
    """

    rows: np.ndarray
    slots: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray


def in_stream_order(pieces: Pieces) -> np.ndarray:
    """The records that hold something of a stream, its own one after the other: int64[k]."""
    used = np.flatnonzero((pieces.slots >= 0) & (pieces.lengths > 0))
    return np.asarray(used[np.argsort(pieces.slots[used], kind="stable")])


def in_rounds(pieces: Pieces) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """The first row of every stream, then the second, and so on: slots, records and rows, int64[k] each."""
    used = np.flatnonzero((pieces.slots >= 0) & (pieces.lengths > 0))
    counts = pieces.lengths[used]
    record = np.repeat(used, counts)
    ends = np.cumsum(counts)
    row = np.arange(record.size) - np.repeat(ends - counts, counts) + np.repeat(pieces.starts[used], counts)
    slot = pieces.slots[record]
    order = np.argsort(slot, kind="stable")
    grouped = slot[order]
    first = np.flatnonzero(np.r_[True, grouped[1:] != grouped[:-1]]) if grouped.size else np.empty(0, np.int64)
    depth = np.arange(grouped.size) - np.repeat(first, np.diff(np.r_[first, grouped.size]))
    by_depth = order[np.argsort(depth, kind="stable")]
    at = 0
    for size in np.bincount(depth).tolist():
        chosen = by_depth[at : at + size]
        yield slot[chosen], record[chosen], row[chosen]
        at += size
