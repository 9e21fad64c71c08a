"""Plain access to the topics of a Kafka cluster over kafka-python."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from edge_rnn.contract.errors import TransportError
from runtime.core.batch import Outgoing, RecordBatch
from runtime.transports.kafka_python_clients import (
    KafkaProducer,
    KafkaPythonAdmin,
    checked,
    errors,
    make,
    to_batch,
)
from runtime.transports.kafka_python_produce import Window, end_producer
from runtime.transports.kafka_python_reader import KafkaPythonReader
from runtime.transports.kafka_reader import read_to
from runtime.transports.kafka_topics import create_topic
from runtime.transports.names import missing_topic

ACKNOWLEDGE_S = 60.0


class KafkaPythonBroker:
    """See `Broker`. It connects when it is first used."""

    def __init__(
        self, url: str, *, startup_timeout_s: float = 20.0, properties: Mapping[str, object] | None = None
    ) -> None:
        self._url, self._timeout_s = url, startup_timeout_s
        self._given = dict(properties or {})
        self._properties = checked(self._given)
        self._connected: KafkaPythonAdmin | None = None
        self._producer: Any = None

    @property
    def _admin(self) -> KafkaPythonAdmin:
        if self._connected is None:
            self._connected = KafkaPythonAdmin(self._url, self._given, self._timeout_s)
        return self._connected

    def create_topic(self, name: str, partitions: int) -> None:
        create_topic(self._admin, name, partitions)

    def partitions(self, topic: str) -> int | None:
        return self._admin.partitions().get(topic)

    def write(self, topic: str, records: Outgoing) -> None:
        if self.partitions(topic) is None:
            raise missing_topic(topic, self._url)
        if self._producer is None:
            self._producer = make(
                KafkaProducer,
                self._url,
                self._properties,
                self._timeout_s,
                linger_ms=5,
                batch_size=128 << 10,
                allow_auto_create_topics=False,
            )
        failed: list[Exception] = []

        def acknowledged(sent: Any) -> None:
            try:
                sent.get(timeout=ACKNOWLEDGE_S)
            except errors.KafkaError as error:
                failed.append(error)

        try:
            window = Window(self._producer, acknowledged)
            window.send(topic, records)
            self._producer.flush(timeout=ACKNOWLEDGE_S)
            window.flush()
        except (errors.KafkaError, ValueError) as error:
            failed.append(error)
        if failed:
            raise TransportError(f"cannot write to {topic!r} on {self._url}: {failed[0]}") from failed[0]

    def read(self, topic: str, *, start: Mapping[int, int] | None = None, timeout_s: float = 10.0) -> RecordBatch:
        count = self.partitions(topic)
        if count is None:
            raise missing_topic(topic, self._url)
        deadline = time.monotonic() + timeout_s
        ends = self._admin.ends(topic, list(range(count)))
        firsts = self._admin.firsts(topic, list(range(count)))
        starts = {partition: max(firsts[partition], (start or {}).get(partition, 0)) for partition in ends}
        records: list[Any] = []
        reading = read_to(lambda: KafkaPythonReader(self._url, self._properties, topic, self._timeout_s), starts, ends)
        for page in reading:
            records += page
            if time.monotonic() > deadline:
                break
        order = np.argsort([record.partition for record in records], kind="stable")
        return to_batch([records[index] for index in order.tolist()], ends)

    def close(self) -> None:
        if self._producer is not None:
            end_producer(self._producer, self._timeout_s)
            self._producer = None
        if self._connected is not None:
            self._connected.close()
            self._connected = None
