"""Partitions that a group left to nobody are found and given out anew."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
import uuid
from dataclasses import asdict

import pytest

from runtime.transports import kafka_orphans
from runtime.transports.connect import open_broker
from runtime.transports.kafka_orphans import OrphanWatch, least, look_every_s, orphans
from runtime.transports.protocol import Client, MemberSettings
from tests.transports.places import PARTITIONS, make_place, new_member


def test_orphans_when_every_partition_has_a_member_then_there_are_none() -> None:
    assert orphans({"a": {0, 2}, "b": {1, 3}}, 4) == set()
    assert orphans({}, 4) == set()


def test_look_every_s_when_the_group_is_large_then_the_coordinator_is_asked_no_more_often() -> None:
    assert look_every_s(1) == look_every_s(50) == kafka_orphans.LOOK_EVERY_S
    assert 1000 / look_every_s(1000) == 50 / look_every_s(50)


def test_orphans_when_members_lack_some_then_those_and_the_least_member_acts() -> None:
    held = {"b": {0}, "a": {2}, "c": {1, 4}}
    assert orphans(held, 5) == {3}
    assert least(held) == "a"
    assert least({**held, "z": set()}) == "z"


def test_watch_while_a_member_has_all_partitions_then_nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_orphans, "LOOK_EVERY_S", 0.002)
    looked, asked, closing = threading.Semaphore(0), threading.Event(), threading.Event()
    owned = {0, 1}

    def held() -> int:
        looked.release()
        return len(owned)

    def ask() -> None:
        asked.set()

    settings = MemberSettings(broker="nowhere", group="g", instance="a", input="in", output="out")
    OrphanWatch(settings, 2, ask, closing, held)
    for _ in range(5):
        assert looked.acquire(timeout=10)
    assert not asked.is_set()
    owned.remove(1)
    assert asked.wait(10)
    closing.set()


@pytest.mark.kafka
@pytest.mark.parametrize("client", ["kafka-python", "confluent"])
def test_member_that_dies_between_giving_up_and_joining_again_leaves_no_partition_to_nobody(
    client: Client, kafka_broker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_orphans, "LOOK_EVERY_S", 1.0)
    broker = open_broker(kafka_broker, client)
    place = make_place(client, kafka_broker, client, broker, f"orphan-{uuid.uuid4().hex[:6]}")
    first = subprocess.Popen(
        [sys.executable, "-m", "tests.transports.dying_member", json.dumps({"settings": asdict(place.settings)})],
        stdout=subprocess.PIPE,
    )
    with first:
        assert first.stdout is not None
        assert first.stdout.readline() == b"joined\n"
        second = new_member(place.with_(instance="b")).open()
        second.until(lambda: first.poll() is not None, "the first to die")
    assert first.returncode == -signal.SIGKILL
    again = new_member(place.settings).open()
    deadline = time.monotonic() + 40
    while not (second.owned and len(again.owned) + len(second.owned) == PARTITIONS):
        assert time.monotonic() < deadline, (again.events, second.events)
        for member in (again, second):
            member.transport.poll(100, 0.05)
    assert sorted([*again.owned, *second.owned]) == list(range(PARTITIONS))
    for member in (again, second):
        member.transport.close()
    broker.close()
