"""What is particular to the embedded store: its limits, what it removes, and who may write."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_rnn.contract.errors import BrokerUnreachable, CommitAborted, TransportError, UsageError
from runtime.transports.connect import open_broker
from runtime.transports.protocol import MemberSettings
from runtime.transports.sqlite import store_path
from runtime.transports.sqlite_broker import SqliteBroker
from runtime.transports.sqlite_retention import enforce
from runtime.transports.sqlite_store import Store, StoreFull
from tests.transports.places import new_member, numbered, records

PRODUCER = """
import sys
from runtime.transports.sqlite_broker import SqliteBroker
from tests.transports.places import numbered, records
broker = SqliteBroker(sys.argv[1])
for part in range(20):
    broker.write("input", records(numbered(50, f"{sys.argv[2]}-{part:02d}")))
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.sqlite"


@pytest.fixture
def broker(path: Path) -> Iterator[SqliteBroker]:
    broker = SqliteBroker(path)
    broker.create_topic("input", 4)
    broker.create_topic("output", 4)
    yield broker
    broker.close()


def settings(path: Path, **properties: object) -> MemberSettings:
    return MemberSettings(f"sqlite:{path}", "g", "input", "output", "a", transaction_timeout_s=1, properties=properties)


def test_producers_in_other_processes_lose_nothing(path: Path, broker: SqliteBroker) -> None:
    member = new_member(settings(path)).open().join().serve_end()
    producers = [subprocess.Popen([sys.executable, "-c", PRODUCER, path, name]) for name in ("a", "b")]
    taken = member.take(2000)
    assert [producer.wait(30) for producer in producers] == [0, 0]
    expected = sorted(value for name in "ab" for part in range(20) for value in numbered(50, f"{name}-{part:02d}"))
    assert sorted(record.value or b"" for record in taken) == expected
    member.transport.close()


def test_retention_by_bytes_removes_the_oldest(path: Path, broker: SqliteBroker) -> None:
    broker.set_limits("output", retention_bytes=10_000)
    for part in range(30):
        broker.write("output", records([b"%03d" % part * 33] * 8))
    store = Store(path, create=False)
    enforce(store, "output")
    held = broker.read("output")
    assert (
        0
        < sum(len(value or b"") + len(key or b"") for key, value in zip(held.keys, held.values, strict=True))
        <= 10_000
    )
    assert held.values[-1] == b"029" * 33
    topic = store.topic("output")
    assert topic is not None
    assert all(0 < first < following == 60 for first, following in store.ends(topic).values())
    total = store.db.execute("SELECT sum(bytes) FROM partitions WHERE topic = ?", (topic.id,)).fetchone()[0]
    assert total == sum(len(value or b"") + len(key or b"") for key, value in zip(held.keys, held.values, strict=True))
    store.close()


def test_retention_by_age_keeps_what_a_group_has_not_read(path: Path, broker: SqliteBroker) -> None:
    member = new_member(settings(path)).open().join().serve_end()
    broker.write("input", records(numbered(40)))
    member.take(20)
    member.transport.commit(member.positions())
    store = Store(path, create=False)
    store.db.execute("UPDATE records SET appended = 0")
    assert enforce(store, "input") == 20
    assert len(broker.read("input")) == 20
    store.close()
    member.transport.close()


def test_member_whose_records_were_removed_is_told(path: Path, broker: SqliteBroker) -> None:
    member = new_member(settings(path)).open().join().serve_end()
    broker.set_limits("input", retention_bytes=1000)
    broker.write("input", records([b"x" * 100] * 40, partitions=[0] * 40))
    store = Store(path, create=False)
    enforce(store, "input")
    store.close()
    member.events.clear()
    member.until(lambda: bool(member.events), "the loss to be told")
    assert member.events[:2] == [("lost", (0,)), ("assigned", (0,))]
    member.transport.close()


def test_full_store_refuses_producers_first_then_commits(path: Path, broker: SqliteBroker) -> None:
    member = new_member(settings(path, **{"sqlite.max.bytes": 2_000_000})).open().join().serve_end()
    broker.close()
    producer = SqliteBroker(path)
    with pytest.raises(StoreFull, match=r"full.*size limit"):
        fill(producer)
    member.transport.send(records([b"small"] * 4), "output")
    member.transport.commit(member.positions())
    member.transport.send(records([b"x" * 1000] * 2000), "output")
    begun = time.monotonic()
    with pytest.raises(CommitAborted, match="full"):
        member.transport.commit({})
    assert time.monotonic() - begun < 10
    member.transport.abort()
    producer.set_limits(max_bytes=0)
    member.transport.send(records([b"x" * 1000] * 2000), "output")
    member.transport.commit({})
    assert len(producer.read("output")) == 2004
    producer.close()
    member.transport.close()


def fill(producer: SqliteBroker) -> None:
    for _ in range(1000):
        producer.write("input", records([b"x" * 1000] * 40))


def test_lock_is_free_when_its_process_is_gone(path: Path, broker: SqliteBroker) -> None:
    code = (
        "import os, sys; from runtime.transports.protocol import MemberSettings;"
        "from tests.transports.places import new_member;"
        "new_member(MemberSettings('sqlite:' + sys.argv[1], 'g', 'input', 'output', 'a')).open(); os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", code, path], check=False).returncode == 9
    member = new_member(settings(path)).open()
    member.transport.close()


def test_groups_run_side_by_side(path: Path, broker: SqliteBroker) -> None:
    first = new_member(settings(path)).open()
    second = new_member(MemberSettings(f"sqlite:{path}", "other", "input", "output", "a")).open()
    first.transport.close()
    second.transport.close()


def test_file_that_is_no_store_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "text.sqlite"
    text.write_text("not a database, but long enough to be read as a header of one" * 20)
    with pytest.raises(BrokerUnreachable, match=r"text\.sqlite"):
        SqliteBroker(text).partitions("input")
    other = tmp_path / "other.sqlite"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE mine (a)")
    connection.close()
    with pytest.raises(TransportError, match="not a store of edge-rnn"):
        SqliteBroker(other).create_topic("input", 1)


def test_store_of_another_schema_is_refused(path: Path, broker: SqliteBroker) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(TransportError, match="schema 99, expected 1"):
        SqliteBroker(path).partitions("input")


def test_url_without_a_path_is_refused() -> None:
    with pytest.raises(UsageError, match="sqlite:PATH"):
        store_path("sqlite:")


def test_unknown_client_is_refused() -> None:
    with pytest.raises(UsageError, match="unknown client"):
        open_broker("127.0.0.1:1", "other")  # type: ignore[arg-type]
