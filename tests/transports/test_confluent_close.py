"""librdkafka's clients end at any moment of a join, without a thread left behind."""

from __future__ import annotations

import threading
import time
import uuid

import pytest

from runtime.transports.confluent_close import close_within
from runtime.transports.connect import open_broker
from tests.transports.places import make_place, new_member

DEADLINE_S = 20.0


def closing() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "edge-rnn-close"]


@pytest.mark.kafka
def test_close_at_any_moment_of_a_join_when_nobody_polls_then_no_client_is_left(kafka_broker: str) -> None:
    """A consumer that was given partitions and not asked for them was seen never to end (librdkafka 2.16)."""
    broker = open_broker(kafka_broker, "confluent")
    place = make_place("confluent", kafka_broker, "confluent", broker, f"close-{uuid.uuid4().hex[:6]}")
    member = new_member(place.settings).open().join()
    member.transport.close()
    for step in range(24):
        member = new_member(place.settings).open()
        time.sleep(0.008 * step)  # the join of a member that comes back takes up to a tenth of a second
        member.transport.close()
    broker.close()
    deadline = time.monotonic() + DEADLINE_S
    while closing():
        assert time.monotonic() < deadline, f"{len(closing())} clients do not end"
        time.sleep(0.05)


def test_close_within_when_a_client_does_not_end_then_nobody_waits_for_it() -> None:
    released = threading.Event()

    class Stuck:
        def __del__(self) -> None:
            released.wait()

    began = time.monotonic()
    assert not close_within([Stuck()], 0.2)
    assert time.monotonic() - began < 5
    released.set()
    for thread in closing():
        thread.join(DEADLINE_S)


def test_close_within_when_clients_end_then_it_says_so_and_has_emptied_the_list() -> None:
    clients = [object(), object()]
    assert close_within(clients, 5.0)
    assert clients == []
