"""What the observers over both Kafka clients share: all partitions, none of the group, and the output followed."""

from __future__ import annotations

import threading
from abc import abstractmethod
from typing import Any

from edge_rnn.contract.errors import TopicError
from runtime.core.batch import RecordBatch
from runtime.transports.kafka_member import KafkaMember
from runtime.transports.kafka_reader import PartitionReader
from runtime.transports.kafka_topics import Counts, TopicAdmin
from runtime.transports.names import missing_topic
from runtime.transports.protocol import Listener, MemberSettings, TopicIds

ENDLESS = 1 << 62


class KafkaObserving(KafkaMember):
    """Mixed into a client's member, before it: see `Observer`. It has no producer."""

    _followed: PartitionReader | None = None

    def open(self, listener: Listener) -> None:
        self._listener = listener
        try:
            self.observe()
        except BaseException:
            self.close()
            raise

    def follow_output(self, partition: int, offset: int) -> None:
        if self._followed is None:
            self._followed = self.make_output_reader()
        self._followed.drop(partition)
        self._followed.add(partition, offset, ENDLESS)

    def outputs(self) -> RecordBatch:
        messages: list[Any] = []
        if self._followed is not None:
            for partition in sorted(self._followed.ends):
                messages += self._followed.take(partition, wait=False) or []
        return self.as_batch(messages)

    def close(self, *, leave: bool = False) -> None:
        """As `Observer.close`, on a thread of its own: who takes over from a shadow does not wait for its clients' end."""
        threading.Thread(target=self._end, name="edge-rnn-close").start()

    def _end(self) -> None:
        if self._followed is not None:
            self._followed.close()
            self._followed = None
        super().close()  # type: ignore[safe-super]  # the client's, which comes next

    @abstractmethod
    def observe(self) -> None:
        """Connect, count the partitions, and take all of them."""

    @abstractmethod
    def make_output_reader(self) -> PartitionReader:
        """A reader of the output topic."""

    @abstractmethod
    def as_batch(self, messages: list[Any]) -> RecordBatch:
        """The client's messages in columns."""


def observed_topics(admin: TopicAdmin, settings: MemberSettings) -> Counts:
    """The partitions of the topics of a group that has run. Raises `TopicError` where one is missing."""
    found = admin.partitions()
    for name in (settings.input, settings.output):
        if name not in found:
            raise missing_topic(name, settings.broker)
    if settings.state_topic not in found:
        raise no_group(settings)
    ids = TopicIds(admin.topic_id(settings.input), admin.topic_id(settings.state_topic))
    return Counts(found[settings.input], found[settings.output], ids)


def no_group(settings: MemberSettings) -> TopicError:
    """The error for a group that no daemon has served."""
    return TopicError(
        f"group {settings.group!r} has no topic {settings.state_topic!r} on {settings.broker}: no daemon has served it"
        " yet; name the group that is to be shadowed"
    )
