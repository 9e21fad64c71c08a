"""A member of librdkafka's is told of its partitions at once, and takes over transactions without its long pauses."""

from __future__ import annotations

import logging
import os
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from runtime.transports import confluent
from runtime.transports.connect import open_broker
from runtime.transports.librdkafka import load
from tests.transports.places import Member, make_place, new_member

pytestmark = pytest.mark.kafka

SLICE_S = 20.0


@pytest.fixture
def returning(kafka_broker: str) -> Iterator[Member]:
    """A member that was of its group before."""
    broker = open_broker(kafka_broker, "confluent")
    place = make_place("confluent", kafka_broker, "confluent", broker, f"join-{uuid.uuid4().hex[:6]}")
    before = new_member(place.settings).open().join()
    before.transport.close()
    member = new_member(place.settings)
    yield member
    member.transport.close()
    broker.close()


@pytest.mark.skipif(load() is None and not os.environ.get("CI"), reason="edge-rnn-native is not installed")
def test_partitions_are_told_as_soon_as_they_are_given_while_a_poll_waits(
    returning: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(confluent, "POLL_SLICE_S", SLICE_S)
    returning.open()
    began = time.monotonic()
    while not returning.owned and time.monotonic() - began < SLICE_S:
        returning.transport.poll(100, SLICE_S)
    assert time.monotonic() - began < SLICE_S / 2
    assert returning.owned


def test_transactions_that_are_being_completed_are_asked_for_again_at_once(
    returning: Member, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    transport: Any = returning.transport
    limits_s: list[float] = []
    make = transport._make_producer

    class Busy:
        """The producer, whose coordinator completes an older transaction for the first three tries."""

        def __init__(self, producer: Any) -> None:
            self._producer = producer

        def __getattr__(self, name: str) -> Any:
            return getattr(self._producer, name)

        def init_transactions(self, limit_s: float) -> None:
            limits_s.append(limit_s)
            if len(limits_s) <= 3:
                raise KafkaException(KafkaError(KafkaError.CONCURRENT_TRANSACTIONS, retriable=True))
            self._producer.init_transactions(SLICE_S)

    def make_busy() -> None:
        make()
        transport._producer = Busy(transport._producer)

    monkeypatch.setattr(transport, "_make_producer", make_busy)
    with caplog.at_level(logging.WARNING, "edge_rnn.transport"):
        returning.open().join()
    assert len(limits_s) == 4
    assert limits_s == sorted(limits_s)
    assert limits_s[2] < 0.5  # librdkafka's own pause, which is the same for each try
    assert not [each for each in caplog.messages if "no answer" in each]
