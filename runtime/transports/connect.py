"""From a URL to a transport or a broker; each client is imported only when it is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from edge_rnn.contract.errors import MissingDependency, UsageError
from runtime.transports.observer import Observer
from runtime.transports.protocol import Broker, Client, MemberSettings, Transport


def open_transport(settings: MemberSettings) -> Transport:
    """The transport of a member; it connects when its ``open`` is called. Raises `UsageError`, `MissingDependency`.

    The embedded store commits all in one transaction whatever ``delivery`` says: there is nothing to gain.
    """
    transport: Transport
    if settings.broker.startswith("sqlite:"):
        from runtime.transports.sqlite import SqliteTransport

        transport = SqliteTransport(settings)
    elif _module(settings.client) == "confluent":
        if settings.delivery == "at-least-once":
            transport = _confluent("confluent_at_least_once").ConfluentAtLeastOnce(settings)
        else:
            transport = _confluent("confluent").ConfluentTransport(settings)
    elif settings.delivery == "at-least-once":
        from runtime.transports.kafka_python_at_least_once import KafkaPythonAtLeastOnce

        transport = KafkaPythonAtLeastOnce(settings)
    else:
        from runtime.transports.kafka_python import KafkaPythonTransport

        transport = KafkaPythonTransport(settings)
    return transport


def open_observer(settings: MemberSettings) -> Observer:
    """As `open_transport`, to read what a group reads and writes without being of it."""
    observer: Observer
    if settings.broker.startswith("sqlite:"):
        from runtime.transports.sqlite_observer import SqliteObserver

        observer = SqliteObserver(settings)
    elif _module(settings.client) == "confluent":
        observer = _confluent("confluent_observer").ConfluentObserver(settings)
    else:
        from runtime.transports.kafka_python_observer import KafkaPythonObserver

        observer = KafkaPythonObserver(settings)
    return observer


def group_holder(url: str, group: str) -> str | None:
    """The process that runs a group of an embedded store; ``None``: nobody does, or the store is a Kafka."""
    if not url.startswith("sqlite:"):
        return None
    from runtime.transports.sqlite import store_path
    from runtime.transports.sqlite_lock import GroupLock

    return GroupLock.holder(store_path(url), group)


def open_broker(
    url: str,
    client: Client = "kafka-python",
    startup_timeout_s: float = 20.0,
    properties: Mapping[str, object] | None = None,
) -> Broker:
    """Plain access to the topics at ``url``: ``HOST:PORT[,HOST:PORT]`` or ``sqlite:PATH``.

    Raises `BrokerUnreachable` within ``startup_timeout_s``, `UsageError` for a property that no
    part of the client knows, `MissingDependency`.
    """
    broker: Broker
    if url.startswith("sqlite:"):
        from runtime.transports.sqlite import store_path
        from runtime.transports.sqlite_broker import SqliteBroker

        broker = SqliteBroker(store_path(url), wait_s=startup_timeout_s)
    elif _module(client) == "confluent":
        broker = _confluent("confluent_broker").ConfluentBroker(
            url, startup_timeout_s=startup_timeout_s, properties=properties or {}
        )
    else:
        from runtime.transports.kafka_python_broker import KafkaPythonBroker

        broker = KafkaPythonBroker(url, startup_timeout_s=startup_timeout_s, properties=properties or {})
    return broker


def _module(client: str) -> str:
    if client not in {"kafka-python", "confluent"}:
        raise UsageError(f"unknown client {client!r}, expected kafka-python or confluent")
    return client


def _confluent(module: str) -> Any:
    try:
        importlib.import_module("confluent_kafka")
    except ImportError as error:
        raise MissingDependency(
            "client 'confluent' needs confluent-kafka, which is not installed; pip install 'edge-rnn[fast]'"
        ) from error
    return importlib.import_module(f"runtime.transports.{module}")
