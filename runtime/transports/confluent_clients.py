"""confluent-kafka's clients as this distribution sets them up, and what their errors mean."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its stubs do not say that it exports them
    AdminClient,
    ConfigResource,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

from edge_rnn.contract.errors import BrokerUnreachable, TopicError, UsageError
from runtime.core.batch import RecordBatch, no_records
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
UNREACHABLE = {KafkaError._TRANSPORT, KafkaError._TIMED_OUT, KafkaError._ALL_BROKERS_DOWN, KafkaError._RESOLVE}
READ_MESSAGES = 10_000


class ClientLog:
    """Takes librdkafka's own log. A broker that is away is our message to give, so all of it is detail here."""

    def log(self, level: int, form: str, *arguments: object) -> None:
        """As `logging.Logger.log`, at the level of details."""
        log.debug(form, *arguments)


def checked(properties: Mapping[str, object]) -> dict[str, object]:
    """The properties, if librdkafka knows them all. Raises `UsageError` naming the first that it does not."""
    for name, value in properties.items():
        try:
            Producer({name: value}, logger=ClientLog())
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
        self.client: Any = AdminClient(
            {**BASE, **dict[str, Any](properties), "bootstrap.servers": broker}, logger=ClientLog()
        )

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

    def ends(self, topic: str, partitions: list[int]) -> dict[int, int]:
        """The offset after the last record, committed or not."""
        latest: Any = OffsetSpec
        asked = {TopicPartition(topic, partition): latest.latest() for partition in partitions}
        try:
            answers = self.client.list_offsets(asked, request_timeout=self._timeout_s)
            return {place.partition: answer.result().offset for place, answer in answers.items()}
        except KafkaException as error:
            raise self.unreachable(error) from error

    def member_id(self, group: str, instance: str) -> str | None:
        """The id of the member that a group knows under a static instance name; ``None``: no such member."""
        deadline = time.monotonic() + self._timeout_s
        while True:
            try:
                found = self.client.describe_consumer_groups([group], request_timeout=5.0)[group].result()
                return next((each.member_id for each in found.members if each.group_instance_id == instance), None)
            except KafkaException as error:
                if time.monotonic() > deadline:
                    raise self.unreachable(error) from error

    def unreachable(self, error: KafkaException) -> BrokerUnreachable:
        """The error for a broker without an answer."""
        return BrokerUnreachable(unreachable_text(self.broker, self._timeout_s, error.args[0].name()))


def read_to(
    broker: str,
    properties: Mapping[str, object],
    topic: str,
    starts: Mapping[int, int],
    ends: Mapping[int, int],
    deadline: float | None = None,
) -> Iterator[list[Any]]:
    """Committed messages of some partitions from ``starts`` to ``ends``, page by page.

    A page is empty where none came for a tenth of a second: a transaction before an end is still open, or the
    broker is away. Ends at ``deadline`` (`time.monotonic`) at the latest.
    """
    waiting = {partition: ends[partition] for partition, start in starts.items() if start < ends[partition]}
    if not waiting:
        return
    reader: Any = consumer(
        broker,
        properties,
        group_id=f"edge-rnn-reader-{uuid.uuid4().hex}",
        enable_auto_commit=False,
        enable_partition_eof=True,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        fetch_wait_max_ms=50,
        queued_max_messages_kbytes=16384,
    )
    try:
        reader.assign([TopicPartition(topic, partition, starts[partition]) for partition in waiting])
        while waiting and (deadline is None or time.monotonic() < deadline):
            page = reader.consume(READ_MESSAGES, 0) or reader.consume(1, 0.1)
            for message in page:
                error, partition = message.error(), message.partition()
                done = message.offset() + (error is None) >= waiting.get(partition, 0)
                if (error is None or error.code() == KafkaError._PARTITION_EOF) and done:
                    waiting.pop(partition, None)
            yield [each for each in page if each.error() is None and each.offset() < ends[each.partition()]]
    finally:
        reader.close()


def to_batch(messages: list[Any], positions: dict[int, int]) -> RecordBatch:
    """Messages in columns."""
    if not messages:
        return no_records()
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
