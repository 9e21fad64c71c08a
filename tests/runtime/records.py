"""Batches of records for tests, written row by row."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from runtime.core.batch import RecordBatch


def batch_of(
    records: Sequence[tuple[int, bytes | None, bytes | None]], offsets: dict[int, int] | None = None, timestamp: int = 0
) -> RecordBatch:
    """Records ``(partition, key, value)``; offsets go on from ``offsets`` (changed in place)."""
    offsets = {} if offsets is None else offsets
    column = []
    for partition, _, _ in records:
        column.append(offsets.get(partition, 0))
        offsets[partition] = column[-1] + 1
    return RecordBatch(
        partitions=np.array([r[0] for r in records], np.int32),
        offsets=np.array(column, np.int64),
        timestamps=np.full(len(records), timestamp, np.int64),
        keys=[r[1] for r in records],
        values=[r[2] for r in records],
        positions={p: offsets[p] for p in {r[0] for r in records}},
    )


def f32(rows: np.ndarray) -> bytes:
    """Rows as the f32 codec writes them."""
    return np.asarray(rows, "<f4").tobytes()
