"""Rows of the embedded store and records in columns, one into the other."""

from __future__ import annotations

import base64
import json

import numpy as np

from runtime.core.batch import Headers, RecordBatch, no_records

Row = tuple[int, int, bytes | None, bytes | None, str | None]
"""Offset, timestamp, key, value, headers."""


def to_batch(found: dict[int, list[Row]], positions: dict[int, int]) -> RecordBatch:
    """Rows of several partitions in columns. ``positions``: the offset to read next, by partition."""
    counts = {partition: len(rows) for partition, rows in found.items() if rows}
    if not counts:
        return no_records()
    columns = list(zip(*(row for rows in found.values() for row in rows), strict=True))
    notes = columns[4]
    return RecordBatch(
        partitions=np.repeat(np.fromiter(counts, np.int32), list(counts.values())),
        offsets=np.array(columns[0], np.int64),
        timestamps=np.array(columns[1], np.int64),
        keys=list(columns[2]),
        values=list(columns[3]),
        positions=positions,
        headers=[decode_headers(note) for note in notes] if any(notes) else None,
    )


def encode_headers(headers: Headers) -> str:
    """Headers as the store keeps them: JSON, values in base 64."""
    return json.dumps([[name, base64.b64encode(value).decode()] for name, value in headers])


def decode_headers(note: str | None) -> list[tuple[str, bytes]]:
    """The inverse of `encode_headers`; no headers for ``None``."""
    return [] if note is None else [(name, base64.b64decode(value)) for name, value in json.loads(note)]


def row_bytes(key: bytes | None, value: bytes | None, note: str | None) -> int:
    """What a row counts for in its topic's size: key, value and headers."""
    return len(key or b"") + len(value or b"") + len(note or "")
