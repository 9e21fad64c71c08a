"""What comes out of a confluent-kafka consumer: its own objects, or columns where the native part is installed."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from confluent_kafka import KafkaError

from runtime.core.batch import RecordBatch, no_records
from runtime.transports.confluent_clients import to_batch
from runtime.transports.librdkafka import QueueReader, load

EVENTS = 1000
"""Most events of the consumer's own queue that are served between two looks at the partitions' queues."""


@dataclass(frozen=True, slots=True)
class Event:
    """What came in place of a record: an error, or the end of a partition."""

    code: int
    partition: int
    offset: int
    text: str
    fatal: bool = False


class Fetched(NamedTuple):
    """Records without positions, and events."""

    records: RecordBatch
    events: tuple[Event, ...] = ()


class Source(Protocol):
    """Where a member's records come from."""

    def part(self, partition: int) -> None:
        """To be called before a partition is assigned."""

    def fetch(self, partitions: Collection[int], most: int, timeout_s: float) -> Fetched:
        """What has come for these partitions; waits for a first record or event up to ``timeout_s``.

        The client serves its callbacks in here, on this thread.
        """

    def interrupt(self) -> None:
        """To be called by a callback that has news: the fetch that serves it need not wait any longer."""

    def close(self) -> None:
        """To be called before the consumer goes."""


def make_source(consumer: Any, topic: str) -> Source:
    """The faster one that there is."""
    library = load()
    return ObjectSource(consumer) if library is None else ColumnSource(consumer, QueueReader(library, consumer, topic))


class ObjectSource:
    """A Python object a record."""

    def __init__(self, consumer: Any) -> None:
        self._consumer = consumer

    def part(self, partition: int) -> None:
        """Nothing to do."""

    def fetch(self, partitions: Collection[int], most: int, timeout_s: float) -> Fetched:
        """As `Source.fetch`; may give records of other partitions too."""
        messages = self._consumer.consume(most, 0)
        if not messages:
            messages = self._consumer.consume(1, timeout_s)
            if messages and most > 1:
                messages += self._consumer.consume(most - 1, 0)
        return _fetched(messages)

    def interrupt(self) -> None:
        """Nothing to do: librdkafka waits on, and gives no handle on that."""

    def close(self) -> None:
        """Nothing to do."""


class ColumnSource:
    """Columns out of the partitions' queues; the consumer itself gives events only."""

    def __init__(self, consumer: Any, queues: QueueReader) -> None:
        self._consumer = consumer
        self._queues = queues
        self._interrupted = False

    def part(self, partition: int) -> None:
        self._queues.part(partition)

    def fetch(self, partitions: Collection[int], most: int, timeout_s: float) -> Fetched:
        deadline = time.monotonic() + timeout_s
        self._interrupted = False
        while True:
            own = self._consumer.consume(EVENTS, 0)
            found = _fetched(own) if own else self._take(partitions, most)
            left_s = deadline - time.monotonic()
            if found is not None or self._interrupted or left_s <= 0:
                return found or Fetched(no_records())
            self._queues.wait(left_s)

    def interrupt(self) -> None:
        self._interrupted = True

    def _take(self, partitions: Collection[int], most: int) -> Fetched | None:
        taken = self._queues.take(list(partitions), most)
        if taken is None:
            return None
        events = tuple(Event(code, partition, offset, text) for code, partition, offset, text in taken.errors)
        return Fetched(
            RecordBatch(taken.partitions, taken.offsets, taken.timestamps, taken.keys, taken.values, {}, taken.headers),
            events,
        )

    def close(self) -> None:
        self._queues.close()


def last_offsets(records: RecordBatch) -> dict[int, int]:
    """The offset after the last record of each partition."""
    ends = np.flatnonzero(np.diff(records.partitions, append=-1))
    return dict(zip(records.partitions[ends].tolist(), (records.offsets[ends] + 1).tolist(), strict=True))


def _fetched(messages: list[Any]) -> Fetched:
    good = [message for message in messages if message.error() is None]
    if len(good) == len(messages):
        return Fetched(to_batch(good, {}))
    events = []
    for message in messages:
        error: KafkaError | None = message.error()
        if error is not None:
            events.append(Event(error.code(), message.partition(), message.offset(), error.str(), error.fatal()))
    return Fetched(to_batch(good, {}), tuple(events))
