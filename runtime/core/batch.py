"""Records in columns: what a transport gives and what it is given."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass, field

import numpy as np

from runtime.core.column import Cells, pick

Header = tuple[str, bytes]
Headers = Sequence[Header]

BY_KEY = -1
"""A partition of an outgoing record: let the transport choose it by the key."""


@dataclass(frozen=True, slots=True)
class RecordBatch:
    """Records as polled, in columns of equal length ``n``; in offset order within each partition.

    ``partitions`` is int32[n], ``offsets`` int64[n], ``timestamps`` int64[n] in milliseconds since
    1970 (-1: unknown). ``keys`` is a list of bytes or ``None``, ``values`` a list or a `Column` of them. ``headers`` is a
    list of header lists, or ``None`` where no record has any. ``positions`` maps each partition of
    the batch to the offset to read next: it may be beyond the last record's offset + 1, where a
    transaction's markers follow.
    """

    partitions: np.ndarray
    offsets: np.ndarray
    timestamps: np.ndarray
    keys: list[bytes | None]
    values: Cells
    positions: dict[int, int]
    headers: list[Headers] | None = None

    def __len__(self) -> int:
        return len(self.keys)

    def pick(self, rows: Sequence[int], partitions: Container[int] | None = None) -> RecordBatch:
        """The records at these places, in that order, and the positions of these partitions (default: all)."""
        chosen = np.asarray(rows, np.int64)
        return RecordBatch(
            partitions=self.partitions[chosen],
            offsets=self.offsets[chosen],
            timestamps=self.timestamps[chosen],
            keys=[self.keys[row] for row in rows],
            values=pick(self.values, chosen),
            positions={p: o for p, o in self.positions.items() if partitions is None or p in partitions},
            headers=None if self.headers is None else [self.headers[row] for row in rows],
        )


@dataclass(frozen=True, slots=True)
class Outgoing:
    """Records to send, in columns of equal length ``n``; order is kept within a partition.

    ``partitions`` is int32[n] with `BY_KEY` where the transport chooses, ``timestamps`` int64[n]
    in milliseconds since 1970 (-1: now). A value of ``None`` is a tombstone.
    """

    partitions: np.ndarray
    timestamps: np.ndarray
    keys: list[bytes | None]
    values: Cells
    headers: list[Headers] | None = field(default=None)

    def __len__(self) -> int:
        return len(self.keys)


def no_records() -> RecordBatch:
    """A batch of no records."""
    return RecordBatch(np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0, np.int64), [], [], {})
