"""A broker that goes away and comes back, and a process that was stopped for too long: work goes on."""

from __future__ import annotations

import dataclasses
import gc
import os
import signal
import threading
import time
import uuid
from collections.abc import Iterator
from typing import cast

import pytest

from edge_rnn.contract.errors import CommitAborted
from runtime.transports.connect import open_broker
from runtime.transports.protocol import Client
from tests.kafka.broker import RunningKafka
from tests.transports.places import Member, Place, make_place, new_member, numbered, records

pytestmark = [
    pytest.mark.kafka,
    # kafka-python 3.0 drops the sockets of refused connections without closing them
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
]


@pytest.fixture(autouse=True)
def _collect() -> Iterator[None]:
    yield
    gc.collect()


@pytest.fixture(params=["kafka-python", "confluent"])
def kafka_place(request: pytest.FixtureRequest) -> Iterator[tuple[Place, RunningKafka]]:
    """A broker of its own, which may be killed."""
    client = cast(Client, request.param)
    with RunningKafka() as kafka:
        broker = open_broker(kafka.bootstrap, client)
        yield make_place(client, kafka.bootstrap, client, broker, f"{client}-{uuid.uuid4().hex[:6]}"), kafka
        broker.close()


def test_member_works_on_after_the_broker_was_away(kafka_place: tuple[Place, RunningKafka]) -> None:
    place, kafka = kafka_place
    member = new_member(place.settings).open().join().serve_end()
    place.broker.write(place.settings.input, records(numbered(40)))
    member.take(40)
    member.transport.commit(member.positions("before"))
    kafka.kill()
    for _ in range(10):
        assert len(member.transport.poll(100, 0.1)) == 0
    kafka.start()
    place.broker.write(place.settings.input, records(numbered(40, "after")))
    member.take(40)
    member.transport.send(records(numbered(40, "after")), "output")
    try:
        member.transport.commit(member.positions("after"))
    except CommitAborted:  # allowed: then the records come again from the committed position
        member.transport.abort()
        for partition in range(4):
            position = member.transport.committed(partition)
            assert position is not None
            member.transport.serve(partition, position.offset)
        member.take(40)
        member.transport.send(records(numbered(40, "after")), "output")
        member.transport.commit(member.positions("after"))
    assert sorted(record.value or b"" for record in place.since(place.settings.output, {})) == numbered(40, "after")
    member.transport.close()


@pytest.mark.parametrize("stopped_s", [1.5, 4.0])
def test_epoch_whose_records_waited_too_long_for_the_broker_is_seen_whole_or_not_at_all(
    kafka_place: tuple[Place, RunningKafka], stopped_s: float
) -> None:
    """A client that gives a record up must not commit the rest of its transaction."""
    place, kafka = kafka_place
    settings = dataclasses.replace(place.settings, transaction_timeout_s=2.0)
    member = new_member(settings).open().join().serve_end()
    member.transport.send(records(numbered(8, "first")), "output")
    member.transport.commit(member.positions("first"))
    assert kafka.pid is not None
    os.kill(kafka.pid, signal.SIGSTOP)
    goes_on = threading.Timer(stopped_s, os.kill, (kafka.pid, signal.SIGCONT))
    goes_on.start()
    expected = numbered(8, "first")
    try:
        member.transport.send(records(numbered(40, "second")), "output")
        member.transport.commit(member.positions("second"))
        expected += numbered(40, "second")
    except CommitAborted:
        goes_on.join()
        member.transport.abort()
    member.transport.send(records(numbered(8, "third")), "output")
    member.transport.commit(member.positions("third"))
    expected += numbered(8, "third")
    assert sorted(record.value or b"" for record in place.since(place.settings.output, {})) == sorted(expected)
    member.transport.close()


def test_record_that_kafka_python_gives_up_aborts_its_epoch(kafka_broker: str) -> None:
    """A batch that waits for longer than its time limit fails; kafka-python would commit the transaction without it."""
    broker = open_broker(kafka_broker, "kafka-python")
    place = make_place("kafka-python", kafka_broker, "kafka-python", broker, f"expire-{uuid.uuid4().hex[:6]}")
    impatient = {"linger.ms": 60_000, "request.timeout.ms": 9500, "delivery.timeout.ms": 70_000}
    member = new_member(dataclasses.replace(place.settings, properties=impatient)).open().join().serve_end()
    member.transport.send(records(numbered(8, "lost")), "output")
    producer = member.transport._producer  # type: ignore[attr-defined]
    producer._accumulator.config["delivery_timeout_ms"] = 1  # as if the minute were over
    deadline = time.monotonic() + 20
    while producer._accumulator.has_incomplete:
        assert time.monotonic() < deadline
        producer._sender.wakeup()
        member.transport.poll(100, 0.01)
    producer._accumulator.config["delivery_timeout_ms"] = 70_000
    with pytest.raises(CommitAborted):
        member.transport.commit(member.positions("without its records"))
    member.transport.abort()
    assert all(member.transport.committed(partition) is None for partition in range(4))
    member.transport.send(records(numbered(8, "again")), "output")
    member.transport.commit(member.positions("again"))
    assert sorted(record.value or b"" for record in place.since(place.settings.output, {})) == numbered(8, "again")
    member.transport.close()
    broker.close()


def dawdle(member: Member) -> None:
    """Leave the transaction open until the broker ends it; it looks for late ones every 10 s."""
    deadline = time.monotonic() + 40
    while time.monotonic() < deadline:
        member.transport.poll(100, 0.5)
        member.transport.send(records([b"late"]), "output")
    member.transport.commit(member.positions("late"))


def test_call_that_never_returns_aborts_and_the_member_works_on(
    kafka_broker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `send_offsets_to_transaction` was seen to hang (librdkafka issue 5511)."""
    from runtime.transports import confluent

    broker = open_broker(kafka_broker, "confluent")
    place = make_place("confluent", kafka_broker, "confluent", broker, f"stuck-{uuid.uuid4().hex[:6]}")
    member = new_member(place.settings).open().join().serve_end()
    member.transport.send(records([b"stuck"]), "output")
    released, real = threading.Event(), member.transport._producer  # type: ignore[attr-defined]

    class Stuck:
        def send_offsets_to_transaction(self, *arguments: object) -> None:
            released.wait()

    monkeypatch.setattr(confluent, "STUCK_S", 0.1)
    monkeypatch.setattr(confluent, "COMMIT_SLICE_S", 0.1)
    monkeypatch.setattr(member.transport, "_producer", Stuck())
    with pytest.raises(CommitAborted, match="does not return"):
        member.transport.commit(member.positions("stuck"))
    monkeypatch.undo()
    member.transport.abort()
    member.transport.send(records([b"next"]), "output")
    member.transport.commit(member.positions("next"))
    assert [record.value for record in place.since(place.settings.output, {})] == [b"next"]
    released.set()
    real.purge()
    member.transport.close()
    broker.close()


@pytest.mark.parametrize("client", ["kafka-python", "confluent"])
def test_transaction_that_took_too_long_is_aborted_and_the_member_works_on(client: Client, kafka_broker: str) -> None:
    broker = open_broker(kafka_broker, client)
    place = make_place(client, kafka_broker, client, broker, f"late-{uuid.uuid4().hex[:6]}")
    member = new_member(dataclasses.replace(place.settings, transaction_timeout_s=1.0)).open().join().serve_end()
    member.transport.send(records([b"first"]), "output")
    member.transport.commit(member.positions("first"))
    member.transport.send(records([b"late"]), "output")
    with pytest.raises(CommitAborted):
        dawdle(member)
    member.transport.abort()
    assert member.transport.committed(0) is not None
    member.transport.send(records([b"next"]), "output")
    member.transport.commit(member.positions("next"))
    assert sorted(record.value or b"" for record in place.since(place.settings.output, {})) == [b"first", b"next"]
    member.transport.close()
    broker.close()
