"""The observer over kafka-python."""

from __future__ import annotations

from typing import Any

from runtime.core.batch import RecordBatch
from runtime.transports.kafka_observing import KafkaObserving, observed_topics
from runtime.transports.kafka_python import KafkaPythonTransport
from runtime.transports.kafka_python_clients import KafkaPythonAdmin, TopicPartition, to_batch
from runtime.transports.kafka_python_reader import KafkaPythonReader
from runtime.transports.kafka_reader import PartitionReader


class KafkaPythonObserver(KafkaObserving, KafkaPythonTransport):
    """See `Observer`."""

    def observe(self) -> None:
        settings = self.settings
        self._admin = KafkaPythonAdmin(settings.broker, settings.properties, settings.startup_timeout_s)
        self.counts = observed_topics(self._admin, settings)
        self._consumer = self._make_consumer()
        self._consumer.assign([self._place(partition) for partition in range(self.counts.input)])
        self._on_assign(list(range(self.counts.input)))

    def output_end(self, partition: int) -> int:
        place = TopicPartition(self.settings.output, partition)
        return int(self._ask(lambda: self._consumer.end_offsets([place], timeout_ms=5000))[place])

    def make_output_reader(self) -> PartitionReader:
        settings = self.settings
        return KafkaPythonReader(settings.broker, self._properties, settings.output, settings.startup_timeout_s)

    def as_batch(self, messages: list[Any]) -> RecordBatch:
        return to_batch(messages, {})
