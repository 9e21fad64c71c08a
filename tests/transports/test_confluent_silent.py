"""A partition that is served gives its records, whatever librdkafka makes of what it was asked."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from runtime.transports import confluent
from runtime.transports.connect import open_broker
from tests.transports.places import Member, make_place, new_member, numbered, records

pytestmark = pytest.mark.kafka


@pytest.fixture
def member(kafka_broker: str) -> Iterator[Member]:
    """One of a group whose input has 100 records; no partition is served yet."""
    broker = open_broker(kafka_broker, "confluent")
    place = make_place("confluent", kafka_broker, "confluent", broker, f"silent-{uuid.uuid4().hex[:6]}")
    place.broker.write(place.settings.input, records(numbered(100)))
    joined = new_member(place.settings).open().join()
    yield joined
    joined.transport.close()
    broker.close()


def read(member: Member, limit_s: float) -> int:
    """How many records come until there are all, or the time is over."""
    deadline, n = time.monotonic() + limit_s, 0
    while n < 100 and time.monotonic() < deadline:
        n += len(member.transport.poll(500, 0.05))
    return n


def test_a_partition_that_gives_nothing_is_asked_for_anew(
    member: Member, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(confluent, "SILENT_S", 1.0)
    transport: Any = member.transport
    for partition in sorted(member.owned):
        transport.serve(partition, 0)
    quiet = min(member.owned)
    transport.pause(quiet)  # as if what starts its fetch had been lost
    with caplog.at_level(logging.WARNING, "edge_rnn.transport"):
        assert read(member, 30) == 100
    assert any(f"{transport.settings.input}/{quiet} gives nothing" in message for message in caplog.messages)
    assert not transport._silent


def test_a_partition_without_records_is_not_asked_for_anew(
    member: Member, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(confluent, "SILENT_S", 1.0)
    transport: Any = member.transport
    for partition in sorted(member.owned):
        transport.serve(partition, transport.bounds(partition)[1])
    with caplog.at_level(logging.WARNING, "edge_rnn.transport"):
        assert read(member, 2.5) == 0
    assert not caplog.messages
    assert not transport._silent


def test_nothing_is_asked_of_a_partition_while_its_fetch_is_being_started(member: Member) -> None:
    """Two threads number their requests then, and librdkafka drops the one that comes with the lower number."""
    transport: Any = member.transport
    asked: list[str] = []
    client = transport._consumer

    class Noted:
        def __getattr__(self, name: str) -> Any:
            asked.append(name)
            return getattr(client, name)

    transport._consumer = Noted()
    try:
        transport.serve(min(member.owned), 0)
    finally:
        transport._consumer = client
    assert asked[-1] == "incremental_assign"
    assert "resume" in asked
