"""Topics made, removed and looked at from outside."""

from __future__ import annotations

import time

from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec

PARTITIONS = 4
LEADERS_S = 60.0


class Admin:
    """A client of one broker for all that is not a record."""

    def __init__(self, broker: str) -> None:
        self._broker = broker
        self._client = self._open()

    def _open(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self._broker, "log_level": 4})

    def create(self, topic: str, partitions: int = PARTITIONS, **config: str) -> bool:
        """Whether it was made; ``False``: it was there. ``config`` has underscores for dots."""
        wanted = NewTopic(
            topic, partitions, 1, config={name.replace("_", "."): value for name, value in config.items()}
        )
        try:
            self._client.create_topics([wanted])[topic].result(30)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise
            return False
        self._wait_for_leaders(topic, partitions)
        return True

    def _wait_for_leaders(self, topic: str, partitions: int) -> None:
        deadline = time.monotonic() + LEADERS_S
        while True:
            try:
                self.ends(topic, partitions)
                return
            except KafkaException:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
                self._client = self._open()  # one that found no leader was seen to keep to that

    def delete(self, *topics: str) -> None:
        """Remove topics and what is in them."""
        for done in self._client.delete_topics(list(topics), operation_timeout=30).values():
            done.result(60)

    def stable_end(self, topic: str, partitions: int = PARTITIONS) -> int:
        """Sum of the last stable offsets: what a committed reader can see, and the markers of transactions."""
        return sum(self.ends(topic, partitions).values())

    def ends(self, topic: str, partitions: int = PARTITIONS) -> dict[int, int]:
        """The last stable offset of each partition."""
        wanted = {TopicPartition(topic, partition): OffsetSpec.latest() for partition in range(partitions)}
        found = self._client.list_offsets(wanted, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=10)
        return {place.partition: answer.result(10).offset for place, answer in found.items()}
