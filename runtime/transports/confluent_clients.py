"""confluent-kafka's clients as this distribution sets them up, and what their errors mean."""

from __future__ import annotations

import base64
import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from confluent_kafka import (
    Consumer,
    ConsumerGroupTopicPartitions,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Producer,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its stubs do not say that it exports them
    AdminClient,
    ConfigResource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

from edge_rnn.contract.errors import BrokerUnreachable, TopicError, UsageError
from runtime.core.batch import RecordBatch, no_records
from runtime.transports.confluent_close import close_within
from runtime.transports.kafka_member import unreachable_text

log = logging.getLogger("edge_rnn.transport.librdkafka")

# Re-bootstrap, librdkafka's default, decommissions coordinators under waiting requests: a broker that comes back
# finds `send_offsets_to_transaction` hanging for good (librdkafka issues 5511 and 5456, seen with 2.16.0).
BASE: dict[str, Any] = {
    "allow.auto.create.topics": False,
    "metadata.recovery.strategy": "none",
    "reconnect.backoff.max.ms": 1000,
    "socket.keepalive.enable": True,
}
FENCED = {
    KafkaError._FENCED,
    KafkaError.PRODUCER_FENCED,
    KafkaError.FENCED_INSTANCE_ID,
    KafkaError.INVALID_PRODUCER_EPOCH,
}
NONE_SO_LATE = -1
"""librdkafka's answer to a question by time where no record is so late."""
UNREACHABLE = {KafkaError._TRANSPORT, KafkaError._TIMED_OUT, KafkaError._ALL_BROKERS_DOWN, KafkaError._RESOLVE}


class ClientLog:
    """Takes librdkafka's own log. A broker that is away is our message to give, so all of it is detail here."""

    def log(self, level: int, form: str, *arguments: object) -> None:
        """As `logging.Logger.log`, at the level of details."""
        log.debug(form, *arguments)


def checked(properties: Mapping[str, object]) -> dict[str, object]:
    """The properties, if librdkafka knows them all. Raises `UsageError` naming the first that it does not."""
    for name, value in properties.items():
        try:
            close_within([Producer({name: value}, logger=ClientLog())])
        except (KafkaException, TypeError, ValueError) as error:
            reason = error.args[0].str() if isinstance(error, KafkaException) else error
            raise UsageError(f"property {name!r} is not known to confluent-kafka, or not so: {reason}") from error
    return dict(properties)


def consumer(broker: str, properties: Mapping[str, object], **settings: object) -> Consumer:
    """A consumer; ``settings`` are properties with underscores for dots, and may be overridden by ``properties``."""
    ours = {name.replace("_", "."): value for name, value in settings.items()}
    return Consumer({**BASE, **ours, **properties, "bootstrap.servers": broker}, logger=ClientLog())


def producer(broker: str, properties: Mapping[str, object], **settings: object) -> Producer:
    """A producer; as `consumer`."""
    ours = {name if name == "on_delivery" else name.replace("_", "."): value for name, value in settings.items()}
    return Producer({**BASE, **ours, **properties, "bootstrap.servers": broker}, logger=ClientLog())


class ConfluentAdmin:
    """See `TopicAdmin`. Raises `BrokerUnreachable` once ``timeout_s`` have passed without an answer."""

    def __init__(self, broker: str, properties: Mapping[str, object], timeout_s: float) -> None:
        self.broker, self._timeout_s = broker, timeout_s
        self._properties: dict[str, Any] = {**BASE, **properties, "bootstrap.servers": broker}
        self.client: Any = AdminClient(self._properties, logger=ClientLog())

    def partitions(self) -> dict[str, int]:
        try:
            topics = self.client.list_topics(timeout=self._timeout_s).topics
        except KafkaException as error:
            raise self.unreachable(error) from error
        return {name: len(topic.partitions) for name, topic in topics.items() if topic.error is None}

    def create(self, name: str, partitions: int, config: Mapping[str, str]) -> None:
        wanted = NewTopic(name, num_partitions=partitions, replication_factor=-1, config=dict(config))
        try:
            self.client.create_topics([wanted], request_timeout=self._timeout_s)[name].result()
        except KafkaException as error:
            if error.args[0].code() in UNREACHABLE:
                raise self.unreachable(error) from error
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise TopicError(f"cannot create topic {name!r} on {self.broker}: {error.args[0].str()}") from error

    def config(self, name: str) -> dict[str, str]:
        resource = ConfigResource(ResourceType.TOPIC, name)
        try:
            entries = self.client.describe_configs([resource], request_timeout=self._timeout_s)[resource].result()
        except KafkaException as error:
            raise self.unreachable(error) from error
        return {key: str(entry.value) for key, entry in entries.items()}

    def grow(self, name: str, partitions: int) -> None:
        wanted = NewPartitions(name, partitions)
        try:
            self.client.create_partitions([wanted], request_timeout=self._timeout_s)[name].result()
        except KafkaException as error:
            if error.args[0].code() in UNREACHABLE:
                raise self.unreachable(error) from error
            if error.args[0].code() != KafkaError.INVALID_PARTITIONS:  # else another member has done it
                reason = error.args[0].str()
                raise TopicError(f"cannot add partitions to topic {name!r} on {self.broker}: {reason}") from error

    def topic_id(self, name: str) -> str:
        asked = TopicCollection([name])
        try:
            found = self.client.describe_topics(asked, request_timeout=self._timeout_s)[name].result().topic_id
        except KafkaException as error:
            raise self.unreachable(error) from error
        return base64.b64decode(f"{found}==").hex()

    def ends(self, topic: str, partitions: list[int]) -> dict[int, int]:
        """The offset after the last record, committed or not."""
        return self._offsets(topic, partitions, "latest", IsolationLevel.READ_UNCOMMITTED)

    def bounds(self, topic: str, partitions: list[int]) -> dict[int, tuple[int, int]]:
        """The first offset held, and the offset after the last committed record."""
        firsts = self._offsets(topic, partitions, "earliest", IsolationLevel.READ_COMMITTED)
        lasts = self._offsets(topic, partitions, "latest", IsolationLevel.READ_COMMITTED)
        return {partition: (first, lasts[partition]) for partition, first in firsts.items()}

    def _offsets(self, topic: str, partitions: list[int], which: str, isolation: IsolationLevel) -> dict[int, int]:
        asked = {TopicPartition(topic, partition): getattr(OffsetSpec, which)() for partition in partitions}
        return self._list_offsets(asked, isolation)

    def offset_at(self, topic: str, partition: int, timestamp_ms: int) -> int:
        """Offset of the first record of this time or a later one; negative: there is none."""
        asked = {TopicPartition(topic, partition): OffsetSpec.for_timestamp(max(0, timestamp_ms))}
        return self._list_offsets(asked, IsolationLevel.READ_COMMITTED, least=NONE_SO_LATE)[partition]

    def _list_offsets(
        self, asked: dict[TopicPartition, Any], isolation: IsolationLevel, least: int = 0
    ) -> dict[int, int]:
        """Asks the leaders of now, again while they move. Raises `BrokerUnreachable`.

        A leader that does not answer in time is no error to librdkafka 2.16.0: the offset is then -1001.
        """
        deadline = time.monotonic() + self._timeout_s
        while True:
            try:
                answers = self.client.list_offsets(asked, isolation_level=isolation, request_timeout=5.0)
                found = {place.partition: int(answer.result().offset) for place, answer in answers.items()}
                if min(found.values(), default=least) < least:
                    raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
                return found
            except KafkaException as error:
                if time.monotonic() > deadline:
                    raise self.unreachable(error) from error
                self._forget_leaders()
                time.sleep(0.05)

    def _forget_leaders(self) -> None:
        """Begin with a new client: this one would ask with the leaders' epochs that it knows, and be refused, for ever."""
        gone, self.client = [self.client], AdminClient(self._properties, logger=ClientLog())
        close_within(gone, 0.0)

    def close(self) -> None:
        """Free the connections."""
        gone, self.client = [self.client], None
        close_within(gone)

    def members(self, group: str) -> list[tuple[str | None, str, str]]:
        """Instance name, member id and host of each member of a group; none for a group that is not there."""
        deadline = time.monotonic() + self._timeout_s
        while True:
            try:
                found = self.client.describe_consumer_groups([group], request_timeout=5.0)[group].result()
                return [(each.group_instance_id, each.member_id, each.host) for each in found.members]
            except KafkaException as error:
                if error.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:
                    return []
                if time.monotonic() > deadline:
                    raise self.unreachable(error) from error

    def group_offsets(self, group: str) -> list[TopicPartition]:
        """What a group has committed, with its metadata, for each partition of each topic."""
        deadline = time.monotonic() + self._timeout_s
        while True:
            try:
                asked = [ConsumerGroupTopicPartitions(group)]
                answer = self.client.list_consumer_group_offsets(asked, request_timeout=5.0)[group].result()
                return list(answer.topic_partitions)
            except KafkaException as error:
                if time.monotonic() > deadline:
                    raise self.unreachable(error) from error

    def unreachable(self, error: KafkaException) -> BrokerUnreachable:
        """The error for a broker without an answer."""
        return BrokerUnreachable(unreachable_text(self.broker, self._timeout_s, error.args[0].name()))


def to_batch(messages: list[Any], positions: dict[int, int]) -> RecordBatch:
    """Messages in columns."""
    if not messages:
        return replace(no_records(), positions=positions)
    headers = [message.headers() for message in messages]
    return RecordBatch(
        partitions=np.array([message.partition() for message in messages], np.int32),
        offsets=np.array([message.offset() for message in messages], np.int64),
        timestamps=np.array([message.timestamp()[1] for message in messages], np.int64),
        keys=[message.key() for message in messages],
        values=[message.value() for message in messages],
        positions=positions,
        headers=[[(name, value or b"") for name, value in each or ()] for each in headers] if any(headers) else None,
    )
