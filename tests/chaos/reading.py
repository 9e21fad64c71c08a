"""Whole topics, read committed, by clients of our own: librdkafka, and SQLite on the published schema."""

from __future__ import annotations

import sqlite3
import time
import uuid
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from tests.chaos.records import Record

DEADLINE_S = 90.0


class Silent:
    """librdkafka's log: brokers that come and go are the point here."""

    def log(self, level: int, form: str, *arguments: object) -> None: ...


def make_consumer(bootstrap: str, isolation: str) -> Any:
    """A consumer that joins no group and commits nothing."""
    return Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": f"chaos-{uuid.uuid4().hex}",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": isolation,
            "auto.offset.reset": "error",
            "reconnect.backoff.max.ms": 500,
            "metadata.recovery.strategy": "none",
        },
        logger=Silent(),
    )


def retried(ask: Any, deadline_s: float = DEADLINE_S) -> Any:
    """The answer to a question, asked again while the broker is away."""
    deadline = time.monotonic() + deadline_s
    while True:
        try:
            return ask()
        except KafkaException:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def read_kafka(bootstrap: str, topic: str, deadline_s: float = DEADLINE_S) -> list[Record]:
    """Every committed record, by partition and offset.

    It reads up to the end that an uncommitted reader sees, so a transaction left hanging there is waited for, and
    found out: `TimeoutError` after the deadline.
    """
    probe = make_consumer(bootstrap, "read_uncommitted")
    try:
        partitions = sorted(retried(lambda: probe.list_topics(topic, timeout=5)).topics[topic].partitions)
        bounds = {
            p: retried(lambda p=p: probe.get_watermark_offsets(TopicPartition(topic, p), timeout=5)) for p in partitions
        }
    finally:
        probe.close()
    reader = make_consumer(bootstrap, "read_committed")
    found: list[Record] = []
    deadline = time.monotonic() + deadline_s
    waiting = {p: end for p, (first, end) in bounds.items() if end > first}
    try:
        reader.assign([TopicPartition(topic, p, bounds[p][0]) for p in waiting])
        while waiting:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{topic}: a transaction before the ends {waiting} is open after {deadline_s} s")
            for message in reader.consume(10_000, 0.2):
                error = message.error()
                if error is None:
                    deadline = time.monotonic() + deadline_s
                    found.append(_record(message))
                elif error.code() == KafkaError._PARTITION_EOF:
                    if message.offset() >= waiting.get(message.partition(), 0):
                        waiting.pop(message.partition(), None)
                elif not error.retriable() and error.code() != KafkaError._TRANSPORT:
                    raise KafkaException(error)
    finally:
        reader.close()
    return sorted(found)


def _record(message: Any) -> Record:
    key = message.key()
    return Record(message.partition(), message.offset(), message.timestamp()[1], key or b"", message.value())


def read_sqlite(path: Path, topic: str) -> list[Record]:
    """Every record of a topic of an embedded store. Fails where the numbering of offsets has a gap."""
    store = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=20)
    try:
        rows = store.execute(
            "SELECT r.partition, r.offset, r.timestamp, r.key, r.value FROM records r JOIN topics t ON t.id = r.topic"
            " WHERE t.name = ? ORDER BY r.partition, r.offset",
            (topic,),
        ).fetchall()
        held = store.execute(
            "SELECT sum(p.next_offset) FROM partitions p JOIN topics t ON t.id = p.topic WHERE t.name = ?", (topic,)
        ).fetchone()[0]
    finally:
        store.close()
    if len(rows) != held:
        raise AssertionError(f"{topic} holds {len(rows)} records, its partitions count {held}")
    return [Record(partition, offset, stamp, key or b"", value) for partition, offset, stamp, key, value in rows]
