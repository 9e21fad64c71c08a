"""The groups of a Kafka cluster over confluent-kafka."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from confluent_kafka import KafkaException, TopicPartition

from edge_rnn.contract.errors import TransportError
from runtime.transports.confluent_clients import ConfluentAdmin, checked, consumer, producer
from runtime.transports.confluent_metadata import told
from runtime.transports.confluent_produce import RecordSink
from runtime.transports.groups import Rewrite
from runtime.transports.kafka_groups import TRANSACTION_TIMEOUT_S, KafkaGroups
from runtime.transports.protocol import Position


class ConfluentGroups(KafkaGroups):
    """See `Groups`."""

    def __init__(self, url: str, timeout_s: float, properties: Mapping[str, object]) -> None:
        self._url, self._timeout_s = url, timeout_s
        self._properties = checked(properties)
        self._admin = ConfluentAdmin(url, self._properties, timeout_s)
        self._producer: Any = None

    def positions(self, group: str) -> dict[str, dict[int, Position]]:
        found: dict[str, dict[int, Position]] = {}
        for place, metadata in told(lambda: self._admin.group_offsets(group)):
            if place.offset >= 0:
                found.setdefault(place.topic, {})[place.partition] = Position(place.offset, metadata)
        return found

    def members(self, group: str) -> list[str]:
        return [f"{name or member} at {host}" for name, member, host in self._admin.members(group)]

    def begin(self, transactional_id: str, change: Rewrite) -> None:
        places = [
            TopicPartition(change.input, partition, position.offset, position.metadata)
            for partition, position in change.positions.items()
        ]
        outsider = consumer(self._url, self._properties, group_id=change.group)  # joins nothing: it never subscribes
        try:
            if self._producer is None:
                self._producer = self._open_producer(transactional_id)
                self._producer.init_transactions(self._timeout_s)
            self._producer.begin_transaction()
            RecordSink(self._producer, reports=True).send(change.state_topic, change.records)
            self._producer.flush(TRANSACTION_TIMEOUT_S)
            if places:
                metadata = outsider.consumer_group_metadata()
                self._producer.send_offsets_to_transaction(places, metadata, TRANSACTION_TIMEOUT_S)
        except KafkaException as error:
            reason = error.args[0].str()
            raise TransportError(f"cannot write to {change.state_topic!r} on {self._url}: {reason}") from error
        finally:
            outsider.close()

    def _open_producer(self, transactional_id: str) -> Any:
        return producer(
            self._url,
            self._properties,
            transactional_id=transactional_id,
            transaction_timeout_ms=int(TRANSACTION_TIMEOUT_S * 1000),
            delivery_report_only_error=True,
        )

    def commit(self) -> None:
        try:
            self._producer.commit_transaction(TRANSACTION_TIMEOUT_S)
        except KafkaException as error:
            raise TransportError(f"commit on {self._url} failed: {error.args[0].str()}") from error

    def abort(self) -> None:
        if self._producer is None:
            return
        try:
            self._producer.abort_transaction(TRANSACTION_TIMEOUT_S)
        except KafkaException as error:
            raise TransportError(f"abort on {self._url} failed: {error.args[0].str()}") from error

    def close(self) -> None:
        if self._producer is not None:
            self._producer.purge()
            self._producer = None
