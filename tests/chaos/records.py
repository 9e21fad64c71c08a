"""A record as the feeder and the verifier see it; nothing of the runtime."""

from __future__ import annotations

from typing import NamedTuple

PARTITIONS = 4
FEATURES = 3
ROW_BYTES = 4 * FEATURES


class Record(NamedTuple):
    """One record of one topic. ``timestamp``: milliseconds; the feeder makes it unique, so that it names the record."""

    partition: int
    offset: int
    timestamp: int
    key: bytes
    value: bytes | None


def readable(value: bytes) -> bool:
    """Whether a value is whole float32 rows, one at least."""
    return len(value) > 0 and len(value) % ROW_BYTES == 0
