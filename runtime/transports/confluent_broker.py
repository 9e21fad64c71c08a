"""Plain access to the topics of a Kafka cluster over confluent-kafka."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from confluent_kafka import KafkaError, KafkaException

from edge_rnn.contract.errors import TransportError
from runtime.core.batch import Outgoing, RecordBatch
from runtime.transports.confluent_clients import ConfluentAdmin, checked, producer, to_batch
from runtime.transports.confluent_close import close_within
from runtime.transports.confluent_produce import RecordSink
from runtime.transports.confluent_reader import ConfluentReader
from runtime.transports.kafka_reader import read_to
from runtime.transports.kafka_topics import create_topic
from runtime.transports.names import missing_topic

ACKNOWLEDGE_S = 60.0
FLUSH_SLICE_S = 1.0


class ConfluentBroker:
    """See `Broker`. ``properties`` are librdkafka's, under their dotted names."""

    def __init__(
        self, url: str, *, startup_timeout_s: float = 20.0, properties: Mapping[str, object] | None = None
    ) -> None:
        self._url, self._timeout_s = url, startup_timeout_s
        self._properties = checked(properties or {})
        self._admin = ConfluentAdmin(url, self._properties, startup_timeout_s)
        self._producer: Any = None
        self._failed: KafkaError | None = None

    def create_topic(self, name: str, partitions: int) -> None:
        create_topic(self._admin, name, partitions)

    def partitions(self, topic: str) -> int | None:
        return self._admin.partitions().get(topic)

    def write(self, topic: str, records: Outgoing) -> None:
        if self.partitions(topic) is None:
            raise missing_topic(topic, self._url)
        if self._producer is None:
            self._producer = producer(
                self._url,
                self._properties,
                enable_idempotence=True,
                partitioner="murmur2_random",
                linger_ms=5,
                message_timeout_ms=int(ACKNOWLEDGE_S * 1000),
                delivery_report_only_error=True,
                on_delivery=self._delivered,
            )
        self._failed = None
        try:
            RecordSink(self._producer, reports=True).send(topic, records)
        except KafkaException as error:
            raise TransportError(f"cannot write to {topic!r} on {self._url}: {error.args[0].str()}") from error
        deadline = time.monotonic() + ACKNOWLEDGE_S + FLUSH_SLICE_S
        while left := self._producer.flush(FLUSH_SLICE_S):
            if time.monotonic() > deadline:
                raise TransportError(f"{left} records for {topic!r} are not acknowledged by {self._url}")
        if self._failed is not None:
            raise TransportError(f"cannot write to {topic!r} on {self._url}: {self._failed.str()}")

    def _delivered(self, error: KafkaError | None, message: object) -> None:
        if error is not None:
            self._failed = error

    def read(self, topic: str, *, start: Mapping[int, int] | None = None, timeout_s: float = 10.0) -> RecordBatch:
        count = self.partitions(topic)
        if count is None:
            raise missing_topic(topic, self._url)
        deadline = time.monotonic() + timeout_s
        ends = self._admin.ends(topic, list(range(count)))
        firsts = self._admin.bounds(topic, list(range(count)))
        starts = {partition: max(firsts[partition][0], (start or {}).get(partition, 0)) for partition in ends}
        messages: list[Any] = []
        for page in read_to(lambda: ConfluentReader(self._url, self._properties, topic), starts, ends):
            messages += page
            if time.monotonic() > deadline:
                break
        order = np.argsort([message.partition() for message in messages], kind="stable")
        return to_batch([messages[index] for index in order.tolist()], ends)

    def close(self) -> None:
        """As `Broker.close`. What `write` did not raise for is delivered already."""
        gone, self._producer = [self._producer] if self._producer is not None else [], None
        close_within(gone)
        self._admin.close()
