"""The reader over confluent-kafka."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from confluent_kafka import KafkaError, TopicPartition

from runtime.transports.confluent_clients import consumer
from runtime.transports.confluent_close import close_within
from runtime.transports.kafka_reader import PartitionReader

READ_MESSAGES = 10_000


class ConfluentReader(PartitionReader):
    """See `PartitionReader`."""

    def __init__(self, broker: str, properties: Mapping[str, object], topic: str) -> None:
        super().__init__()
        self._topic = topic
        self._client: Any = consumer(
            broker,
            properties,
            group_id=f"edge-rnn-reader-{uuid.uuid4().hex}",
            enable_auto_commit=False,
            enable_partition_eof=True,
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            fetch_wait_max_ms=10,
            fetch_queue_backoff_ms=5,
            fetch_message_max_bytes=8 << 20,
            queued_max_messages_kbytes=32_768,
        )

    def assign(self, partition: int, start: int) -> None:
        self._client.incremental_assign([TopicPartition(self._topic, partition, start)])

    def unassign(self, partition: int) -> None:
        if self._client is not None:
            self._client.incremental_unassign([TopicPartition(self._topic, partition)])

    def fetch(self, wait_s: float) -> tuple[dict[int, list[Any]], dict[int, int]]:
        messages = self._client.consume(READ_MESSAGES, 0)
        if not messages and wait_s:
            messages = self._client.consume(1, wait_s)
        pages: dict[int, list[Any]] = {}
        reached: dict[int, int] = {}
        for message in messages:
            error, partition = message.error(), message.partition()
            if error is None:
                reached[partition] = message.offset() + 1
                if message.offset() < self.ends.get(partition, 0):
                    pages.setdefault(partition, []).append(message)
            elif error.code() == KafkaError._PARTITION_EOF:
                reached[partition] = message.offset()
        return pages, reached

    def close(self) -> None:
        """As `PartitionReader.close`; nobody needs to wait for it."""
        gone, self._client = [self._client], None
        close_within(gone, 0.0)
