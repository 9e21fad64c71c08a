"""The feed: every step of every stream once, in order, each with a timestamp of its own in its stream."""

from __future__ import annotations

import time
from collections import defaultdict

import numpy as np
import pytest

from edge_rnn.contract.errors import TransportError
from edge_rnn.demo.feed import Feeder, Plan
from edge_rnn.demo.records import encode_row
from edge_rnn.demo.settings import DemoSettings, choose_place, run_command
from runtime.codecs.json import JsonDecoder
from runtime.core.batch import Outgoing

PLAN = Plan(("a", "b"), ("x", "y"), (np.arange(6, dtype=np.float32).reshape(3, 2), np.ones((5, 2), np.float32)))


class Collecting:
    """A broker that keeps what it is given; its first write is slow, or every write fails."""

    def __init__(self, error: Exception | None = None) -> None:
        self.written: list[Outgoing] = []
        self.error = error
        self.closed = False

    def write(self, topic: str, records: Outgoing) -> None:
        if self.error is not None:
            raise self.error
        if not self.written:
            time.sleep(0.1)  # so that the second write has to catch up: several steps of a stream at once
        self.written.append(records)

    def close(self) -> None:
        self.closed = True


def feed(broker: Collecting) -> Feeder:
    feeder = Feeder(PLAN, "in", 200.0, time.monotonic(), lambda: broker)  # type: ignore[arg-type,return-value]
    feeder.start()
    deadline = time.monotonic() + 10
    while not feeder.is_done and time.monotonic() < deadline:
        time.sleep(0.01)
    return feeder


def test_order_when_streams_differ_in_length_then_interleaved_and_whole():
    assert PLAN.order() == [(0, 0), (1, 0), (0, 1), (1, 1), (0, 2), (1, 2), (1, 3), (1, 4)]
    assert len(PLAN) == 8


def test_feeder_when_it_catches_up_then_each_timestamp_is_new_in_its_stream():
    broker = Collecting()
    feeder = feed(broker)
    stamps = defaultdict(list)
    for records in broker.written:
        for key, timestamp in zip(records.keys, records.timestamps.tolist(), strict=True):
            stamps[key].append(timestamp)
    assert [len(stamps[key]) for key in (b"a", b"b")] == [3, 5]
    assert all(column == sorted(set(column)) for column in stamps.values())
    assert max(len(records) for records in broker.written) > 2
    assert [*zip(feeder.sent.streams, feeder.sent.steps, strict=True)] == PLAN.order()
    assert feeder.sent.timestamps_ms == [t for records in broker.written for t in records.timestamps.tolist()]
    assert broker.closed


def test_feeder_when_a_write_fails_then_the_failure_is_raised_where_it_is_waited_for():
    broker = Collecting(TransportError("the store is full"))
    with pytest.raises(TransportError, match="store is full"):
        feed(broker)
    assert broker.closed


def test_row_when_encoded_then_the_daemon_reads_the_same_bits():
    rng = np.random.default_rng(1)
    rows = (rng.standard_normal((200, 3)) * 10.0 ** rng.integers(-30, 30, (200, 3))).astype(np.float32)
    decoded = JsonDecoder(3, ("x", "y", "z")).decode([encode_row(("x", "y", "z"), row) for row in rows])
    assert not decoded.errors
    assert decoded.rows.tobytes() == rows.tobytes()


def test_place_when_a_broker_is_shared_then_topics_and_group_are_this_demos_own(tmp_path):
    kafka = choose_place(DemoSettings(out=tmp_path, broker="host:9092"), tmp_path / "s", "tag1")
    assert (kafka.input, kafka.output, kafka.group) == (
        "demo-tag1-watches",
        "demo-tag1-activities",
        "demo-tag1-activity",
    )
    assert "--group" in run_command(kafka, tmp_path, tmp_path)
    own = choose_place(DemoSettings(out=tmp_path), tmp_path / "s", "tag1")
    assert own.broker == f"sqlite:{tmp_path / 's'}"
    assert own.input == "watches"
