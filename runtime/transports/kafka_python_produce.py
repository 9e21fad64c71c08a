"""Columns into kafka-python's producer, whose own buffer has no bound: this gives it one."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable
from typing import Any

from kafka import errors

from runtime.core.batch import BY_KEY, Outgoing
from runtime.transports.kafka_python_batches import BatchWriter

WINDOW_BYTES = 16 << 20
"""Most bytes sent and not yet acknowledged."""

CHUNK_RECORDS = 500
FORCED_S = 2.0

FLUSH_S = 60.0
"""Longer than the time limit of a delivery: within it every record is delivered, or has failed."""


class Window:
    """Sends records, waiting for the oldest acknowledgement while more than `WINDOW_BYTES` are on the way.

    ``failures`` are the errors of records that were not delivered. They must be looked at: a transaction commits
    without the records that took longer than the time limit of a delivery (kafka-python 3.0.12).

    ``KafkaProducer.send`` takes some 14 us a record. Where all records have their partition and no headers, whole
    batches are written here and put where it would have put them.
    """

    def __init__(self, producer: Any, wait: Callable[[Any], None]) -> None:
        self._producer, self._wait = producer, wait
        self._chunks: deque[tuple[Any, int]] = deque()
        self._bytes = 0
        self._batches = BatchWriter(producer) if BatchWriter.fits(producer) else None
        self.failures: list[Exception] = []

    def send(self, topic: str, records: Outgoing) -> None:
        """Send all. Raises what the producer does, and what ``wait`` makes of a failed record."""
        if self._batches is None or records.headers is not None or (records.partitions == BY_KEY).any():
            self._send_singly(topic, records)
            return
        for sent, size in self._batches.send(topic, records, self.failures.append):
            self._count(sent, size)

    def _send_singly(self, topic: str, records: Outgoing) -> None:
        partitions, stamps = records.partitions.tolist(), records.timestamps.tolist()
        # The list of now: what an aborted transaction still tells of its records does not count for the next.
        send, headers, failed = self._producer.send, records.headers, self.failures.append
        chunk_bytes = 0
        for index, (partition, stamp, key, value) in enumerate(
            zip(partitions, stamps, records.keys, records.values, strict=True)
        ):
            sent = send(
                topic,
                value,
                key,
                list(headers[index]) if headers is not None else None,
                None if partition == BY_KEY else partition,
                None if stamp < 0 else stamp,
            )
            sent.add_errback(failed)
            chunk_bytes += len(key or b"") + len(value or b"") + 32
            if index % CHUNK_RECORDS == CHUNK_RECORDS - 1 or index == len(partitions) - 1:
                self._count(sent, chunk_bytes)
                chunk_bytes = 0

    def _count(self, sent: Any, size: int) -> None:
        self._chunks.append((sent, size))
        self._bytes += size
        while self._bytes > WINDOW_BYTES and self._chunks:
            self._take()

    def flush(self) -> None:
        """Wait for all that was sent. Raises the first of the ``failures``."""
        self._producer.flush(timeout=FLUSH_S)
        self._chunks.clear()
        self._bytes = 0
        if self.failures:
            raise self.failures[0]

    def clear(self) -> None:
        """Forget what was sent: its transaction is over."""
        self._chunks.clear()
        self._bytes = 0
        self.failures = []

    def _take(self) -> None:
        sent, size = self._chunks.popleft()
        self._bytes -= size
        self._wait(sent)


def end_producer(producer: Any, wait_s: float = 0.0) -> None:
    """Close a producer for good; what it could not deliver within ``wait_s`` is dropped.

    Its own ``close`` raises when something was not delivered, and then leaves its thread to go on sending.
    """
    try:
        producer.close(timeout=wait_s)
    except errors.KafkaTimeoutError:
        producer._sender.force_close()
        producer._sender.join(FORCED_S)
        with contextlib.suppress(errors.KafkaError):
            producer.close(timeout=0)
