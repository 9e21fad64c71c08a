"""The reader over kafka-python."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

from runtime.transports.kafka_python_clients import KafkaConsumer, TopicPartition, errors, make
from runtime.transports.kafka_reader import PartitionReader

log = logging.getLogger("edge_rnn.transport")

READ_RECORDS = 5000


class KafkaPythonReader(PartitionReader):
    """See `PartitionReader`."""

    def __init__(self, broker: str, properties: Mapping[str, object], topic: str, timeout_s: float) -> None:
        super().__init__()
        self._topic = topic
        self._assigned: set[int] = set()
        self._client: Any = make(
            KafkaConsumer,
            broker,
            properties,
            timeout_s,
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            fetch_max_wait_ms=10,
            max_partition_fetch_bytes=8 << 20,
            allow_auto_create_topics=False,
        )

    def assign(self, partition: int, start: int) -> None:
        self._assigned.add(partition)
        self._client.assign([self._place(each) for each in self._assigned])
        self._client.seek(self._place(partition), start)

    def unassign(self, partition: int) -> None:
        self._assigned.discard(partition)
        if self._client is not None:
            self._client.assign([self._place(each) for each in self._assigned])

    def _place(self, partition: int) -> TopicPartition:
        return TopicPartition(self._topic, partition)

    def fetch(self, wait_s: float) -> tuple[dict[int, list[Any]], dict[int, int]]:
        try:
            found = self._client.poll(timeout_ms=1000 * wait_s, max_records=READ_RECORDS)
        except (errors.KafkaError, OSError) as error:  # the broker is away: asked again
            log.debug("read of %s: %r", self._topic, error)
            time.sleep(wait_s)
            return {}, {}
        pages = {
            place.partition: [record for record in records if record.offset < self.ends.get(place.partition, 0)]
            for place, records in found.items()
        }
        return pages, {partition: reached(self._client, self._place(partition)) for partition in self._assigned}

    def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close(autocommit=False)


def reached(client: Any, place: TopicPartition) -> int:
    """The offset that a consumer will give next, past a transaction's markers; -1: not known now.

    ``KafkaConsumer.position`` may ask the broker, and waits for it.
    """
    state = client._subscription.assignment.get(place)
    return -1 if state is None or state.position is None else int(state.position.offset)
