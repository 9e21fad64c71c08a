"""The groups of a Kafka cluster over kafka-python."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from edge_rnn.contract.errors import BrokerUnreachable, TransportError
from runtime.transports.groups import Rewrite
from runtime.transports.kafka_groups import TRANSACTION_TIMEOUT_S, KafkaGroups
from runtime.transports.kafka_member import unreachable_text
from runtime.transports.kafka_python_clients import (
    KafkaProducer,
    KafkaPythonAdmin,
    TopicPartition,
    checked,
    errors,
    make,
    place_of,
)
from runtime.transports.kafka_python_produce import Window, end_producer
from runtime.transports.protocol import Position


class KafkaPythonGroups(KafkaGroups):
    """See `Groups`."""

    def __init__(self, url: str, timeout_s: float, properties: Mapping[str, object]) -> None:
        self._url, self._timeout_s = url, timeout_s
        self._properties = checked(properties)
        self._admin = KafkaPythonAdmin(url, properties, timeout_s)
        self._producer: Any = None

    def positions(self, group: str) -> dict[str, dict[int, Position]]:
        found: dict[str, dict[int, Position]] = {}
        for place, committed in self._admin.group_offsets(group).items():
            if committed.offset >= 0:
                metadata = (committed.metadata or "").rstrip("\0")
                found.setdefault(place.topic, {})[place.partition] = Position(committed.offset, metadata)
        return found

    def members(self, group: str) -> list[str]:
        return [f"{name or member} at {host}" for name, member, host in self._admin.members(group)]

    def begin(self, transactional_id: str, change: Rewrite) -> None:
        places = {
            TopicPartition(change.input, partition): place_of(position)
            for partition, position in change.positions.items()
        }
        try:
            if self._producer is None:
                self._producer = self._open_producer(transactional_id)
                self._producer.init_transactions()
            self._producer.begin_transaction()
            window = Window(self._producer, lambda sent: sent.get(timeout=TRANSACTION_TIMEOUT_S))
            window.send(change.state_topic, change.records)
            self._producer.flush(timeout=TRANSACTION_TIMEOUT_S)
            window.flush()
        except errors.KafkaError as error:
            raise TransportError(f"cannot write to {change.state_topic!r} on {self._url}: {error}") from error
        if places:
            manager = self._producer._transaction_manager
            self._wait("send offsets", lambda: manager.send_offsets_to_transaction(places, change.group))

    def _open_producer(self, transactional_id: str) -> Any:
        return make(
            KafkaProducer,
            self._url,
            self._properties,
            self._timeout_s,
            transactional_id=transactional_id,
            transaction_timeout_ms=int(TRANSACTION_TIMEOUT_S * 1000),
            max_block_ms=int(TRANSACTION_TIMEOUT_S * 1000),
            allow_auto_create_topics=False,
        )

    def commit(self) -> None:
        self._wait("commit", self._producer._transaction_manager.begin_commit)

    def abort(self) -> None:
        if self._producer is not None:
            self._wait("abort", self._producer._transaction_manager.begin_abort)

    def _wait(self, what: str, ask: Callable[[], Any]) -> None:
        try:
            result = ask()
            self._producer._sender.wakeup()
            if not result.wait(timeout_ms=TRANSACTION_TIMEOUT_S * 1000):
                raise BrokerUnreachable(unreachable_text(self._url, TRANSACTION_TIMEOUT_S, what))
        except errors.KafkaError as error:
            raise TransportError(f"{what} on {self._url} failed: {error}") from error

    def close(self) -> None:
        if self._producer is not None:
            end_producer(self._producer)
            self._producer = None
        self._admin.close()
