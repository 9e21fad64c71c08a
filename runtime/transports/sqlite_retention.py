"""What the embedded store removes, and what never.

By age (of the append): records that every group with a position in their partition has read, so
a stopped daemon, or a device whose clock jumps, loses no input to it. By size: the oldest records of
the fullest partition, read or not, until the topic is within its bytes. Snapshots, positions and
the numbering of offsets are never removed.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

import numpy as np

from runtime.transports.sqlite_store import Store, Topic

CHUNK_RECORDS = 10_000
"""Most records that one transaction removes, so that writers wait no longer than that takes."""


def apply_properties(store: Store, topics: Iterable[Topic], properties: Mapping[str, object]) -> None:
    """Take over a member's properties: the file's size limit, and the retention of its topics but the compacted."""
    given = {name: int(str(value)) for name, value in properties.items()}
    for topic in topics:
        if not topic.compacted:
            store.set_retention(
                topic,
                retention_ms=given.get("sqlite.retention.ms"),
                retention_bytes=given.get("sqlite.retention.bytes"),
            )
    if "sqlite.max.bytes" in given:
        store.set_limit(given["sqlite.max.bytes"])


def enforce(store: Store, name: str) -> int:
    """Bring a topic within its retention, a transaction for each chunk; the number of records removed."""
    removed = 0
    while (topic := store.topic(name)) is not None and not topic.compacted:
        plan = _plan(store, topic)
        if plan is None:
            break
        with store.transaction():
            plan = _plan(store, topic)  # another process may have removed the same
            if plan is not None:
                removed += _remove(store, topic, *plan)
    return removed


def _plan(store: Store, topic: Topic) -> tuple[int, int, int] | None:
    """A partition, the first offset to keep in it, and the bytes that this frees; ``None``: all within bounds."""
    rows = store.db.execute(
        "SELECT partition, bytes FROM partitions WHERE topic = ? AND next_offset > first_offset ORDER BY bytes DESC",
        (topic.id,),
    ).fetchall()
    excess = sum(row[1] for row in rows) - topic.retention_bytes if topic.retention_bytes else 0
    if excess > 0:
        partition, held_bytes = rows[0]
        goal = min(excess, max(1, held_bytes - topic.retention_bytes // len(rows)))
        offsets, _, sizes = _oldest(store, topic, partition)
        count = min(len(offsets), int(np.searchsorted(np.cumsum(sizes), goal)) + 1)
        return partition, int(offsets[count - 1]) + 1, int(sizes[:count].sum())
    if not topic.retention_ms:
        return None
    cutoff = time.time_ns() // 1_000_000 - topic.retention_ms
    for partition, _ in rows:
        read = store.db.execute(
            "SELECT min(offset) FROM positions WHERE topic = ? AND partition = ?", (topic.id, partition)
        ).fetchone()[0]
        eldest = store.db.execute(
            "SELECT offset, appended FROM records WHERE topic = ? AND partition = ? ORDER BY offset LIMIT 1",
            (topic.id, partition),
        ).fetchone()
        if eldest is None or eldest[1] > cutoff or (read is not None and eldest[0] >= read):
            continue
        offsets, appended, sizes = _oldest(store, topic, partition)
        keep = appended > cutoff
        if read is not None:
            keep |= offsets >= read
        count = int(keep.argmax()) if keep.any() else len(keep)
        return partition, int(offsets[count - 1]) + 1, int(sizes[:count].sum())
    return None


def _oldest(store: Store, topic: Topic, partition: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Offset, time of append and size in bytes of the oldest records: int64[CHUNK_RECORDS] at most."""
    rows = store.db.execute(
        "SELECT offset, appended, coalesce(length(key), 0) + coalesce(length(value), 0) + coalesce(length(headers), 0)"
        " FROM records WHERE topic = ? AND partition = ? ORDER BY offset LIMIT ?",
        (topic.id, partition, CHUNK_RECORDS),
    ).fetchall()
    columns = np.array(rows, np.int64).reshape(-1, 3)
    return columns[:, 0], columns[:, 1], columns[:, 2]


def _remove(store: Store, topic: Topic, partition: int, keep_from: int, freed_bytes: int) -> int:
    store.db.execute(
        "UPDATE partitions SET first_offset = ?, bytes = bytes - ? WHERE topic = ? AND partition = ?",
        (keep_from, freed_bytes, topic.id, partition),
    )
    return store.db.execute(
        "DELETE FROM records WHERE topic = ? AND partition = ? AND offset < ?", (topic.id, partition, keep_from)
    ).rowcount
