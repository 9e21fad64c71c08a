"""The observer over confluent-kafka."""

from __future__ import annotations

from typing import Any

from runtime.core.batch import RecordBatch
from runtime.transports.confluent import ConfluentTransport
from runtime.transports.confluent_clients import ConfluentAdmin, to_batch
from runtime.transports.confluent_reader import ConfluentReader
from runtime.transports.kafka_observing import KafkaObserving, observed_topics
from runtime.transports.kafka_reader import PartitionReader


class ConfluentObserver(KafkaObserving, ConfluentTransport):
    """See `Observer`."""

    def observe(self) -> None:
        settings = self.settings
        self._admin = ConfluentAdmin(settings.broker, self._properties, settings.startup_timeout_s)
        self.counts = observed_topics(self._admin, settings)
        self._take_consumer()
        self._on_assign(self._consumer, [self._place(partition) for partition in range(self.counts.input)])

    def output_end(self, partition: int) -> int:
        assert self._admin is not None
        return self._admin.bounds(self.settings.output, [partition])[partition][1]

    def make_output_reader(self) -> PartitionReader:
        return ConfluentReader(self.settings.broker, self._properties, self.settings.output)

    def as_batch(self, messages: list[Any]) -> RecordBatch:
        return to_batch(messages, {})
