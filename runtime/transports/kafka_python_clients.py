"""kafka-python's clients as this distribution sets them up, and what their errors mean."""

from __future__ import annotations

import logging
import selectors
import socket
import time
import uuid
import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from weakref import WeakSet

import numpy as np

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # importlib.resources.read_text, in kafka-python 3.0
    from kafka import KafkaConsumer, KafkaProducer, TopicPartition, errors
    from kafka.admin import ConfigResource, KafkaAdminClient, OffsetSpec
    from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
    from kafka.structs import OffsetAndMetadata

from edge_rnn.contract.errors import BrokerUnreachable, TopicError, TransportError, UsageError
from runtime.core.batch import RecordBatch, no_records
from runtime.transports.kafka_member import unreachable_text
from runtime.transports.protocol import Position

__all__ = [
    "CooperativeStickyAssignor",
    "KafkaConsumer",
    "KafkaProducer",
    "KafkaPythonAdmin",
    "TopicPartition",
    "admin_client",
    "checked",
    "errors",
    "make",
    "place_of",
    "to_batch",
]

logging.getLogger("kafka").addHandler(logging.NullHandler())  # its log goes where the application's goes, or nowhere


class ClosingSelector(selectors.DefaultSelector):
    """Closed, as the last part of its client, it closes what the client left open.

    A client that is closed while a connection is being made, or before a request is written, forgets the socket (kafka-python
    3.0.12: ``KafkaTCPTransport.close`` waits to have written, and the loop ends first).
    """

    def __init__(self) -> None:
        super().__init__()
        self._seen: WeakSet[socket.socket] = WeakSet()

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        self._seen.add(fileobj)
        return super().register(fileobj, events, data)

    def close(self) -> None:
        super().close()
        for left in list(self._seen):
            left.close()


BASE = {"reconnect_backoff_max_ms": 1000, "selector": ClosingSelector}
KNOWN = set(KafkaConsumer.DEFAULT_CONFIG) | set(KafkaProducer.DEFAULT_CONFIG) | set(KafkaAdminClient.DEFAULT_CONFIG)
ALIASES = {"ssl_ca_location": "ssl_cafile", "ssl_certificate_location": "ssl_certfile", "ssl_key_location": "ssl_keyfile",
           "ssl_key_password": "ssl_password", "sasl_mechanisms": "sasl_mechanism", "sasl_username": "sasl_plain_username",
           "sasl_password": "sasl_plain_password"}  # fmt: skip
"""librdkafka's names for what kafka-python calls otherwise."""


def checked(properties: Mapping[str, object], *, strict: bool = True) -> dict[str, object]:
    """The properties under kafka-python's names. Raises `UsageError` for one that none of its clients knows."""
    translated: dict[str, object] = {}
    for name, value in properties.items():
        ours = name.replace(".", "_")
        ours = ALIASES.get(ours, ours)
        if ours in KNOWN:
            translated[ours] = value
        elif strict:
            raise UsageError(f"property {name!r} is not known to kafka-python; remove it, or use --client confluent")
    return translated


def make(kind: Any, broker: str, properties: Mapping[str, object], timeout_s: float, **settings: object) -> Any:
    """A client of class ``kind``, with those ``properties`` that it knows. Raises `BrokerUnreachable`."""
    if not {"proxy_url", "socks5_proxy"} & set(properties):
        _reach(broker, timeout_s)
    known = {name: value for name, value in properties.items() if name in kind.DEFAULT_CONFIG}
    first = {"bootstrap_servers": broker.split(","), "bootstrap_timeout_ms": max(1, int(timeout_s * 1000))}
    try:
        return kind(**{**BASE, **settings, **known, **first})
    except (errors.KafkaError, OSError) as error:
        if isinstance(error, errors.KafkaConfigurationError):
            raise UsageError(f"kafka-python refuses its properties: {error}") from error
        raise BrokerUnreachable(unreachable_text(broker, timeout_s, type(error).__name__)) from error
    except (AssertionError, TypeError, ValueError) as error:
        raise UsageError(f"kafka-python refuses its properties: {error}") from error


def _reach(broker: str, timeout_s: float) -> None:
    """Wait for a listener at one of the addresses: a client made in vain leaves its sockets and thread behind."""
    deadline = time.monotonic() + timeout_s
    while True:
        for address in broker.split(","):
            host, _, port = address.strip().rpartition(":")
            try:
                left_s = max(0.05, deadline - time.monotonic())
                socket.create_connection((host.strip("[]") or "localhost", int(port)), left_s).close()
                return
            except ValueError as error:
                raise UsageError(f"broker {address!r} is no address, expected HOST:PORT") from error
            except OSError as error:
                reason = error.strerror or str(error)
        if time.monotonic() > deadline:
            raise BrokerUnreachable(unreachable_text(broker, timeout_s, reason))
        time.sleep(0.05)


def admin_client(broker: str, properties: Mapping[str, object], timeout_s: float, *, strict: bool = True) -> Any:
    """An admin client."""
    return make(KafkaAdminClient, broker, checked(properties, strict=strict), timeout_s)


class KafkaPythonAdmin:
    """See `TopicAdmin`. Raises `BrokerUnreachable` once ``timeout_s`` have passed without an answer."""

    def __init__(self, broker: str, properties: Mapping[str, object], timeout_s: float, *, strict: bool = True) -> None:
        self.broker, self._timeout_s = broker, timeout_s
        self.client = admin_client(broker, properties, timeout_s, strict=strict)

    def partitions(self) -> dict[str, int]:
        topics = self._ask(self.client.describe_topics)
        return {topic["name"]: len(topic["partitions"]) for topic in topics if not topic["error_code"]}

    def create(self, name: str, partitions: int, config: Mapping[str, str]) -> None:
        wanted = {name: {"num_partitions": partitions, "replication_factor": -1, "configs": dict(config)}}
        try:
            self.client.create_topics(wanted)
        except errors.TopicAlreadyExistsError:
            return
        except errors.KafkaError as error:
            raise TopicError(f"cannot create topic {name!r} on {self.broker}: {error}") from error

    def config(self, name: str) -> dict[str, str]:
        found = self._ask(self.client.describe_configs, [ConfigResource("topic", name)], config_filter="all")
        return {key: str(entry["value"]) for key, entry in found["topic"][name].items()}

    def grow(self, name: str, partitions: int) -> None:
        try:
            self.client.create_partitions({name: partitions})
        except errors.InvalidPartitionsError:
            return  # another member has done it
        except errors.KafkaError as error:
            raise TopicError(f"cannot add partitions to topic {name!r} on {self.broker}: {error}") from error

    def topic_id(self, name: str) -> str:
        found = self._ask(self.client.describe_topics, [name])[0]["topic_id"]
        return uuid.UUID(str(found)).hex

    def ends(self, topic: str, partitions: list[int]) -> dict[int, int]:
        """The offset after the last record, committed or not."""
        return self._offsets(topic, partitions, OffsetSpec.LATEST)

    def firsts(self, topic: str, partitions: list[int]) -> dict[int, int]:
        """The first offset held."""
        return self._offsets(topic, partitions, OffsetSpec.EARLIEST)

    def _offsets(self, topic: str, partitions: list[int], which: Any) -> dict[int, int]:
        asked = {TopicPartition(topic, partition): which for partition in partitions}
        return {place.partition: found.offset for place, found in self._ask(self._list_offsets, asked).items()}

    def _list_offsets(self, asked: Any) -> Any:
        return self.client.list_partition_offsets(asked)

    def members(self, group: str) -> list[tuple[str | None, str, str]]:
        """Instance name, member id and host of each member of a group; none for a group that is not there."""
        found = self._ask(self.client.describe_groups, [group])[group]["members"]
        return [(each["group_instance_id"], each["member_id"], each["client_host"]) for each in found]

    def group_offsets(self, group: str) -> dict[TopicPartition, Any]:
        """What a group has committed: an ``OffsetAndMetadata`` for each partition of each topic."""
        found: dict[TopicPartition, Any] = self._ask(self.client.list_group_offsets, group)[group]
        return found

    def group(self, group: str) -> dict[str, Any]:
        """A group as kafka-python describes it: its state, and its members with their assignments."""
        return dict(self._ask(self.client.describe_groups, [group])[group])

    def _ask(self, question: Any, *arguments: Any, **options: Any) -> Any:
        """Ask, again while the broker is away. Raises `BrokerUnreachable`, `TransportError`."""
        deadline = time.monotonic() + self._timeout_s
        while True:
            try:
                return question(*arguments, **options)
            except (errors.KafkaError, OSError) as error:
                if not getattr(error, "retriable", False) and not isinstance(error, OSError):
                    raise TransportError(f"{self.broker}: {error}") from error
                if time.monotonic() > deadline:
                    text = unreachable_text(self.broker, self._timeout_s, type(error).__name__)
                    raise BrokerUnreachable(text) from error
                time.sleep(0.05)

    def close(self) -> None:
        """Free the connections."""
        self.client.close()


def place_of(position: Position) -> OffsetAndMetadata:
    """A position as it is committed: its metadata ends with a zero, without which librdkafka reads on behind it."""
    return OffsetAndMetadata(position.offset, position.metadata + "\0" if position.metadata else "", -1)


def to_batch(records: list[Any], positions: dict[int, int]) -> RecordBatch:
    """Records in columns."""
    if not records:
        return replace(no_records(), positions=positions)
    headers = [record.headers for record in records]
    return RecordBatch(
        partitions=np.array([record.partition for record in records], np.int32),
        offsets=np.array([record.offset for record in records], np.int64),
        timestamps=np.array([record.timestamp for record in records], np.int64),
        keys=[record.key for record in records],
        values=[record.value for record in records],
        positions=positions,
        headers=[[(name, value or b"") for name, value in each or ()] for each in headers] if any(headers) else None,
    )
