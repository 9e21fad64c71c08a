"""What every transport must do, by one suite."""

from __future__ import annotations

import dataclasses
import json
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from itertools import pairwise

import pytest

from edge_rnn.contract.errors import BrokerUnreachable, CommitAborted, Fenced, TopicError, UsageError
from runtime.core.batch import BY_KEY, Outgoing
from runtime.transports import kafka_python_produce, sqlite
from runtime.transports.connect import open_broker
from runtime.transports.protocol import METADATA_BYTES, Position
from tests.transports.places import (
    PARTITIONS,
    Member,
    Place,
    Record,
    new_member,
    numbered,
    records,
    rows,
)

OpenMember = Callable[..., Member]


def payloads(found: list[Record]) -> list[bytes | None]:
    return sorted(record.value for record in found)


def by_partition(found: list[Record]) -> dict[int, list[Record]]:
    parts: dict[int, list[Record]] = {}
    for record in found:
        parts.setdefault(record.partition, []).append(record)
    return parts


def snapshots(member: Member, partition: int) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    for keys, values in member.transport.restore(partition):
        found.update(zip(keys, values, strict=True))
    return {key: value for key, value in found.items() if value}


def send_and_commit(member: Member, given: Outgoing) -> None:
    member.transport.send(given, "output")
    member.transport.commit({})


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


# -- reading -----------------------------------------------------------------------------------------------------------


def test_poll_gives_each_partition_in_order_without_gaps_or_repeats(place: Place, open_member: OpenMember) -> None:
    member = open_member().join().serve_end()
    for part in range(5):
        place.broker.write(place.settings.input, records(numbered(400, f"batch-{part}")))
    parts = by_partition(member.take(2000))
    assert sorted(parts) == list(range(PARTITIONS))
    for partition, found in parts.items():
        offsets = [record.offset for record in found]
        assert all(left < right for left, right in pairwise(offsets))
        expected = [value for part in range(5) for value in numbered(400, f"batch-{part}")[partition::PARTITIONS]]
        assert [record.value for record in found] == expected
        assert member.next[partition] > offsets[-1]


def test_poll_gives_at_most_max_records(place: Place, open_member: OpenMember) -> None:
    member = open_member().join().serve_end()
    place.broker.write(place.settings.input, records(numbered(100)))
    sizes = []
    while sum(sizes) < 100:
        sizes.append(len(member.transport.poll(7, 5.0)))
    assert max(sizes) <= 7


def test_records_come_and_go_unchanged(place: Place, open_member: OpenMember) -> None:
    member = open_member().join().serve_end()
    start = place.ends(place.settings.output)
    given = records(
        [b"plain", None, b"", b"\x00\xff", b"x"],
        keys=[b"key", b"tombstone", None, b"", b"key"],
        partitions=[0, 1, 2, 3, 0],
        timestamps=[1, 1_700_000_000_123, 2, 3, 4],
        headers=[[("a", b"1"), ("a", b"2")], [], [("empty", b"")], [], [("b", b"\xff")]],
    )
    place.broker.write(place.settings.input, given)
    taken = sorted(member.take(5))
    member.transport.send(
        records(
            [record.value for record in taken],
            keys=[record.key for record in taken],
            partitions=[record.partition for record in taken],
            timestamps=[record.timestamp for record in taken],
            headers=[record.headers for record in taken],
        ),
        "output",
    )
    member.transport.commit(member.positions())
    sent = sorted(place.since(place.settings.output, start))
    expected = [
        (0, 1, b"key", b"plain", [("a", b"1"), ("a", b"2")]),
        (0, 4, b"key", b"x", [("b", b"\xff")]),
        (1, 1_700_000_000_123, b"tombstone", None, []),
        (2, 2, None, b"", [("empty", b"")]),
        (3, 3, b"", b"\x00\xff", []),
    ]
    for found in (taken, sent):
        assert [(each[0], *each[2:]) for each in found] == expected


def test_records_without_headers_or_time_get_the_time_of_the_send(place: Place, open_member: OpenMember) -> None:
    member = open_member()
    start = place.ends(place.settings.output)
    before = time.time_ns() // 1_000_000
    member.transport.send(records([b"now", None], partitions=[2, 3], timestamps=[-1, -1]), "output")
    member.transport.commit({})
    found = place.since(place.settings.output, start)
    assert [record.value for record in sorted(found)] == [b"now", None]
    assert all(before <= record.timestamp <= time.time_ns() // 1_000_000 for record in found)


def test_records_by_key_meet_in_one_partition(place: Place, open_member: OpenMember) -> None:
    member = open_member()
    start = place.ends(place.settings.output)
    keys = [b"key-%d" % (index % 11) for index in range(110)]
    given = records(numbered(110), keys=keys, partitions=[BY_KEY] * 110)
    member.transport.send(given, "output")
    member.transport.send(records([b"no key"], keys=[None], partitions=[BY_KEY]), "output")
    member.transport.commit({})
    homes: dict[bytes | None, set[int]] = {}
    for record in place.since(place.settings.output, start):
        homes.setdefault(record.key, set()).add(record.partition)
    assert all(len(partitions) == 1 for partitions in homes.values())
    assert len(homes) == 12
    assert len(set().union(*homes.values())) > 1


def test_poll_without_records_returns_within_its_timeout(place: Place, open_member: OpenMember) -> None:
    member = open_member().join().serve_end()
    for timeout_s in (0.0, 0.2):
        begun = time.monotonic()
        assert len(member.transport.poll(100, timeout_s)) == 0
        assert time.monotonic() - begun < timeout_s + 0.5


def test_poll_returns_as_soon_as_there_is_a_record(place: Place, open_member: OpenMember) -> None:
    member = open_member().join().serve_end()
    place.broker.write(place.settings.input, records([b"one"]))
    begun = time.monotonic()
    batch = member.transport.poll(10_000, 20.0)
    assert len(batch) == 1
    assert time.monotonic() - begun < 5


def test_assigned_partition_gives_nothing_until_served(place: Place, open_member: OpenMember) -> None:
    member = open_member().join()
    starts = {partition: member.transport.bounds(partition)[1] for partition in range(PARTITIONS)}
    place.broker.write(place.settings.input, records(numbered(40)))
    assert len(member.transport.poll(100, 0.5)) == 0
    member.transport.serve(2, starts[2])
    taken = member.take(10)
    assert {record.partition for record in taken} == {2}
    assert len(member.transport.poll(100, 0.3)) == 0
    member.serve(starts)
    assert len(member.take(30)) == 30


def test_bounds_tell_the_end_at_the_call(place: Place, open_member: OpenMember) -> None:
    member = open_member().join()
    before = member.transport.bounds(1)
    place.broker.write(place.settings.input, records(numbered(10), partitions=[1] * 10))
    after = member.transport.bounds(1)
    assert after[0] == before[0]
    assert after[1] >= before[1] + 10


def test_lag_counts_what_was_not_polled(place: Place, open_member: OpenMember) -> None:
    member = open_member().join().serve_end()
    place.broker.write(place.settings.input, records(numbered(101), partitions=[0] * 101))
    member.take(101)
    assert member.transport.lag()[0] == 0
    member.transport.serve(0, member.next[0] - 60)
    member.take(10)
    assert member.transport.lag()[0] >= 40


def test_poll_beyond_what_is_held_gives_the_partition_anew(place: Place, open_member: OpenMember) -> None:
    member = open_member().join()
    member.events.clear()
    member.transport.serve(3, 10_000_000)
    member.until(lambda: len(member.events) >= 2, "the partition to be lost and assigned")
    assert member.events == [("lost", (3,)), ("assigned", (3,))]
    member.serve_end()
    place.broker.write(place.settings.input, records([b"again"], partitions=[3]))
    assert [record.value for record in member.take(1)] == [b"again"]


# -- committing --------------------------------------------------------------------------------------------------------


def test_new_member_begins_exactly_where_the_last_commit_ended(place: Place, open_member: OpenMember) -> None:
    member = open_member().join().serve_end()
    place.broker.write(place.settings.input, records(numbered(200)))
    taken: list[Record] = []
    member.until(lambda: len(taken) >= 200, "200 records", taken)
    half = {partition: found[24].offset + 1 for partition, found in by_partition(taken).items()}
    note = json.dumps({"replay_from": 17, "text": "ünï"})
    member.transport.commit({partition: Position(offset, note) for partition, offset in half.items()})
    member.transport.close()
    successor = open_member().join()
    for partition, offset in half.items():
        assert successor.transport.committed(partition) == Position(offset, note)
    rest = by_partition(successor.serve().take(100))
    for partition, found in by_partition(taken).items():
        assert rest[partition] == found[25:]


def test_metadata_of_the_largest_size_comes_back(place: Place, open_member: OpenMember) -> None:
    member = open_member().join().serve_end()
    note = "m" * METADATA_BYTES
    member.transport.commit({0: Position(member.next[0], note)})
    assert member.transport.committed(0) == Position(member.next[0], note)


def test_member_of_a_new_group_has_no_position(place: Place, open_member: OpenMember) -> None:
    group = f"new-{uuid.uuid4().hex[:6]}"
    member = open_member(place.with_(group=group))
    assert member.transport.committed(0) is None
    assert member.transport.input_partitions == PARTITIONS
    assert member.transport.output_partitions == PARTITIONS
    assert place.broker.partitions(f"{group}-state") == PARTITIONS


def test_commit_shows_outputs_letters_snapshots_and_positions_at_once(place: Place, open_member: OpenMember) -> None:
    member = open_member().join().serve_end()
    starts = {topic: place.ends(topic) for topic in (place.settings.output, place.settings.dead_letter or "")}
    before = {partition: member.transport.committed(partition) for partition in range(PARTITIONS)}
    key = uuid.uuid4().bytes
    place.broker.write(place.settings.input, records(numbered(20)))
    member.take(20)
    member.transport.send(records(numbered(50, "out")), "output")
    member.transport.send(records(numbered(3, "dead")), "dead-letter")
    member.transport.send(records([b"snapshot"], keys=[key], partitions=[1]), "state")
    for topic, start in starts.items():
        assert place.since(topic, start, timeout_s=0.3) == []
    member.transport.commit(member.positions("together"))
    assert payloads(place.since(place.settings.output, starts[place.settings.output])) == numbered(50, "out")
    assert payloads(place.since(place.settings.dead_letter or "", starts[place.settings.dead_letter or ""])) == (
        numbered(3, "dead")
    )
    assert snapshots(member, 1)[key] == b"snapshot"
    assert key not in snapshots(member, 2)
    for partition in range(PARTITIONS):
        assert member.transport.committed(partition) == Position(member.next[partition], "together")
        assert member.transport.committed(partition) != before[partition]


def test_commit_of_positions_alone_and_of_records_alone(place: Place, open_member: OpenMember) -> None:
    member = open_member().join().serve_end()
    start = place.ends(place.settings.output)
    member.transport.commit(member.positions("alone"))
    assert member.transport.committed(0) == Position(member.next[0], "alone")
    member.transport.send(records([b"alone"]), "output")
    member.transport.commit({})
    assert payloads(place.since(place.settings.output, start)) == [b"alone"]


def test_aborted_epoch_leaves_nothing(place: Place, open_member: OpenMember) -> None:
    member = open_member().join().serve_end()
    start = place.ends(place.settings.output)
    before = {partition: member.transport.committed(partition) for partition in range(PARTITIONS)}
    key = uuid.uuid4().bytes
    place.broker.write(place.settings.input, records(numbered(20)))
    member.take(20)
    member.transport.send(records(numbered(50, "aborted")), "output")
    member.transport.send(records([b"aborted"], keys=[key], partitions=[0]), "state")
    member.transport.abort()
    assert place.since(place.settings.output, start) == []
    assert key not in snapshots(member, 0)
    assert {partition: member.transport.committed(partition) for partition in range(PARTITIONS)} == before
    member.transport.send(records([b"kept"]), "output")
    member.transport.commit({})
    assert payloads(place.since(place.settings.output, start)) == [b"kept"]


def test_abort_without_an_epoch_does_nothing(place: Place, open_member: OpenMember) -> None:
    member = open_member()
    member.transport.abort()
    member.transport.abort()


def test_served_again_after_an_abort_repeats_the_records(place: Place, open_member: OpenMember) -> None:
    member = open_member().join().serve_end()
    member.transport.commit(member.positions())
    starts = dict(member.next)
    place.broker.write(place.settings.input, records(numbered(60)))
    first = sorted(member.take(60))
    member.transport.abort()
    for partition, offset in starts.items():
        member.transport.serve(partition, offset)
    assert sorted(member.take(60)) == first


def test_input_of_an_aborted_epoch_is_never_polled(place: Place, open_member: OpenMember) -> None:
    """The input of one group may be the output of another."""
    member = open_member().join().serve_end()
    upstream = open_member(
        place.with_(group=f"up-{uuid.uuid4().hex[:6]}", input=place.settings.output, output=place.settings.input)
    )
    upstream.transport.send(records(numbered(20, "aborted")), "output")
    upstream.transport.abort()
    upstream.transport.send(records(numbered(20, "kept")), "output")
    upstream.transport.commit({})
    taken = member.take(20)
    assert payloads(taken) == numbered(20, "kept")
    member.transport.commit(member.positions())
    successor_start = {partition: member.transport.committed(partition) for partition in range(PARTITIONS)}
    assert all(position is not None for position in successor_start.values())


def test_position_passes_markers_and_aborted_records_without_a_further_record(
    place: Place, open_member: OpenMember
) -> None:
    """So a replay up to a position that was committed there ends, though nothing comes any more."""
    member = open_member().join().serve_end()
    begin = dict(member.next)
    upstream = open_member(
        place.with_(group=f"up-{uuid.uuid4().hex[:6]}", input=place.settings.output, output=place.settings.input)
    )
    upstream.transport.send(records(numbered(8, "kept")), "output")
    upstream.transport.commit({})
    upstream.transport.send(records(numbered(8, "aborted")), "output")
    upstream.transport.abort()
    upstream.transport.send(records([b"done"]), "dead-letter")  # waits until the abort has written all its markers
    upstream.transport.commit({})
    ends = {partition: member.transport.bounds(partition)[1] for partition in range(PARTITIONS)}
    assert payloads(member.take(8)) == numbered(8, "kept")
    member.until(lambda: member.next == ends, f"positions {ends}")
    assert set(member.transport.lag().values()) == {0}
    member.transport.commit(member.positions("at the end"))
    member.transport.close()
    successor = open_member().join().serve(begin)
    assert payloads(successor.take(8)) == numbered(8, "kept")
    committed = {partition: successor.transport.committed(partition) for partition in range(PARTITIONS)}
    successor.until(lambda: successor.positions("at the end") == committed, f"positions {committed}")


def test_bad_partition_is_refused(place: Place, open_member: OpenMember) -> None:
    member = open_member()
    with pytest.raises((TopicError, CommitAborted)):
        send_and_commit(member, records([b"nowhere"], partitions=[99]))
    member.transport.abort()
    member.transport.send(records([b"fine"]), "output")
    member.transport.commit({})


def test_large_epoch_commits_within_bounded_buffers(
    place: Place, open_member: OpenMember, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Far more than the buffers hold: the sender is slowed, not refused, and all of it commits."""
    monkeypatch.setattr(sqlite, "PENDING_BYTES", 64 << 10)
    monkeypatch.setattr(kafka_python_produce, "WINDOW_BYTES", 512 << 10)
    small = {
        "sqlite": {},
        "kafka-python": {"batch.size": 32 << 10},
        "confluent": {"queue.buffering.max.messages": 500},
    }[place.name]
    member = open_member(dataclasses.replace(place.settings, properties=small))
    start = place.ends(place.settings.output)
    for part in range(4):
        member.transport.send(records([b"%d" % part * 1000] * 2000), "output")
    member.transport.commit({})
    assert len(place.since(place.settings.output, start)) == 8000


# -- snapshots ---------------------------------------------------------------------------------------------------------


def test_restore_gives_the_last_snapshot_of_each_stream(place: Place, open_member: OpenMember) -> None:
    member = open_member()
    tag = uuid.uuid4().hex[:6].encode()
    keys = [tag + b"-%d" % index for index in range(300)]
    member.transport.send(records([b"first"] * 300, keys=keys, partitions=[2] * 300), "state")
    member.transport.commit({})
    member.transport.send(records([b"second"] * 200, keys=keys[:200], partitions=[2] * 200), "state")
    member.transport.send(records([b"third"] * 100, keys=keys[:100], partitions=[2] * 100), "state")
    member.transport.send(records([None] * 10, keys=keys[:10], partitions=[2] * 10), "state")
    member.transport.commit({})
    member.transport.send(records([b"aborted"] * 300, keys=keys, partitions=[2] * 300), "state")
    member.transport.abort()
    member.transport.close()
    successor = open_member()
    found = {key: value for key, value in snapshots(successor, 2).items() if key.startswith(tag)}
    assert found == {
        **dict.fromkeys(keys[10:100], b"third"),
        **dict.fromkeys(keys[100:200], b"second"),
        **dict.fromkeys(keys[200:], b"first"),
    }
    assert not any(key.startswith(tag) for key in snapshots(successor, 3))


def test_restore_of_an_empty_partition_gives_nothing(place: Place, open_member: OpenMember) -> None:
    member = open_member(place.with_(group=f"new-{uuid.uuid4().hex[:6]}"))
    assert list(member.transport.restore(0)) == []


def test_poll_goes_on_while_a_restore_is_half_read(place: Place, open_member: OpenMember) -> None:
    member = open_member().join().serve_end()
    keys = [b"slow-%06d" % index for index in range(6000)]
    member.transport.send(records([b"s" * 100] * 6000, keys=keys, partitions=[3] * 6000), "state")
    member.transport.commit({})
    bulks = member.transport.restore(3)
    seen = len(next(bulks)[0])
    place.broker.write(place.settings.input, records(numbered(8)))
    assert len(member.take(8)) == 8
    seen += sum(len(bulk_keys) for bulk_keys, _ in bulks)
    assert seen >= 6000


# -- who is who --------------------------------------------------------------------------------------------------------


def test_older_self_can_commit_nothing(place: Place, open_member: OpenMember) -> None:
    session = {} if place.name == "sqlite" else {"session.timeout.ms": 6000}
    older = open_member(place.with_(properties=session)).join().serve_end()
    start = place.ends(place.settings.output)
    older.transport.send(records([b"before"]), "output")
    older.transport.commit(older.positions("before"))
    older.transport.send(records([b"zombie"]), "output")
    if place.name == "sqlite":
        with pytest.raises(Fenced, match="another process"):
            open_member()
        older.transport._lock.release()  # type: ignore[attr-defined]  # as if the file lock had failed
    newer = open_member().join()
    with pytest.raises(Fenced):
        older.transport.commit(older.positions("zombie"))
    with pytest.raises(Fenced):
        send_and_commit(older, records([b"zombie"]))
    assert payloads(place.since(place.settings.output, start)) == [b"before"]
    assert newer.transport.committed(0) == Position(older.next[0], "before")
    newer.transport.send(records([b"after"]), "output")
    newer.transport.commit({})
    assert payloads(place.since(place.settings.output, start)) == [b"after", b"before"]


def test_successor_of_a_killed_member_sees_its_commits_and_no_more(place: Place, open_member: OpenMember) -> None:
    probe = open_member().join().serve_end()
    starts, outputs = dict(probe.next), place.ends(place.settings.output)
    probe.transport.close()
    place.broker.write(place.settings.input, records(numbered(120)))
    given = json.dumps({"settings": dataclasses.asdict(place.settings), "starts": starts})
    done = subprocess.run(
        [sys.executable, "-m", "tests.transports.dying_member", given], capture_output=True, timeout=60
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    successor = open_member().join()
    assert payloads(place.since(place.settings.output, outputs)) == numbered(40, "seen")
    assert b"lost" not in snapshots(successor, 0)
    positions = [successor.transport.committed(partition) for partition in range(PARTITIONS)]
    assert {position.metadata for position in positions if position} == {"before the end"}
    assert len(successor.serve().take(80)) == 80


def test_partitions_move_to_a_second_member_and_back_without_loss(place: Place, open_member: OpenMember) -> None:
    if place.name == "sqlite":
        pytest.skip("a group of the embedded store has one member")
    start = place.ends(place.settings.output)
    first = open_member().join().serve_end()
    first.transport.commit(first.positions())
    place.broker.write(place.settings.input, records(numbered(100)))
    seen: list[Record] = []

    def forward(member: Member, limit: int = 500) -> None:
        """One round of a daemon: poll, answer, and commit what was answered."""
        batch = member.transport.poll(limit, 0.05)
        member.next.update(batch.positions)
        seen.extend(rows(batch))
        if len(batch):
            member.transport.send(
                records(batch.values, keys=batch.keys, partitions=batch.partitions.tolist()), "output"
            )

    def commit(member: Member) -> None:
        member.transport.commit(member.positions())

    first.on_revoked = lambda partitions: commit(first)
    forward(first)
    second = open_member(place.with_(instance="b"))
    deadline = time.monotonic() + 60
    while not (len(first.owned) == 2 and len(second.owned) == 2):
        assert time.monotonic() < deadline, (first.events, second.events)
        forward(first)
        forward(second)
        second.serve()
    commit(first)
    place.broker.write(place.settings.input, records(numbered(100, "later")))
    while len(seen) < 200:
        assert time.monotonic() < deadline, len(seen)
        forward(first)
        forward(second)
    commit(first)
    commit(second)
    second.transport.close(leave=True)
    while len(first.owned) < PARTITIONS:
        assert time.monotonic() < deadline, first.events
        forward(first)
    first.serve()
    place.broker.write(place.settings.input, records(numbered(100, "last")))
    while len(seen) < 300:
        assert time.monotonic() < deadline, len(seen)
        forward(first)
    commit(first)
    expected = sorted(numbered(100) + numbered(100, "later") + numbered(100, "last"))
    assert payloads(seen) == expected
    assert payloads(place.since(place.settings.output, start)) == expected


# -- opening -----------------------------------------------------------------------------------------------------------


def test_open_without_a_broker_says_so_in_time(place: Place) -> None:
    url = "sqlite:/nowhere/store.sqlite" if place.name == "sqlite" else f"127.0.0.1:{free_port()}"
    member = new_member(place.with_(broker=url, startup_timeout_s=1.5))
    begun = time.monotonic()
    with pytest.raises(BrokerUnreachable, match=url.removeprefix("sqlite:")) as raised:
        member.open()
    assert time.monotonic() - begun < 5
    assert "\n" not in str(raised.value)
    member.transport.close()


def test_broker_that_is_not_there_is_unreachable(place: Place) -> None:
    url = "sqlite:/nowhere/store.sqlite" if place.name == "sqlite" else f"127.0.0.1:{free_port()}"
    with pytest.raises(BrokerUnreachable, match=url.removeprefix("sqlite:")):
        open_broker(url, place.settings.client, startup_timeout_s=1.5).partitions("any")


def test_open_without_a_topic_names_it_and_the_remedy(place: Place) -> None:
    for change in ("input", "output", "dead_letter"):
        member = new_member(place.with_(**{change: "no-such-topic"}))
        with pytest.raises(TopicError, match=r"no-such-topic.*--create-topics"):
            member.open()
        member.transport.close()


def test_open_with_create_topics_makes_them(place: Place, open_member: OpenMember) -> None:
    tag = f"made-{uuid.uuid4().hex[:6]}"
    names = {"input": f"{tag}-in", "output": f"{tag}-out", "dead_letter": f"{tag}-dead"}
    member = open_member(place.with_(**names, group=tag, create_topics=True))
    assert {place.broker.partitions(name) for name in (*names.values(), f"{tag}-state")} == {
        member.transport.input_partitions
    }


def test_open_with_a_state_topic_of_other_partitions_is_refused(place: Place) -> None:
    group = f"narrow-{uuid.uuid4().hex[:6]}"
    narrow = f"{group}-in"
    place.broker.create_topic(narrow, 2)
    member = new_member(place.with_(group=group, input=narrow))
    member.open()
    member.transport.close()
    member = new_member(place.with_(group=group))
    with pytest.raises(TopicError, match=rf"{group}-state.* 2 .*{PARTITIONS}|{PARTITIONS} partitions, .* for 2\b"):
        member.open()
    member.transport.close()


def test_open_with_a_state_topic_that_is_not_compacted_is_refused(place: Place) -> None:
    group = f"plain-{uuid.uuid4().hex[:6]}"
    place.broker.create_topic(f"{group}-state", PARTITIONS)
    member = new_member(place.with_(group=group))
    with pytest.raises(TopicError, match=rf"{group}-state.*compact"):
        member.open()
    member.transport.close()


def test_topic_given_twice_is_refused(place: Place) -> None:
    with pytest.raises(UsageError, match="both the input and the output"):
        new_member(place.with_(output=place.settings.input))


def test_unknown_property_is_refused(place: Place) -> None:
    with pytest.raises(UsageError, match=r"no\.such\.property"):
        new_member(place.with_(properties={"no.such.property": 1}))


def test_topic_created_twice_is_left_alone_but_not_with_other_partitions(place: Place) -> None:
    place.broker.create_topic(place.settings.input, PARTITIONS)
    with pytest.raises(TopicError, match=place.settings.input):
        place.broker.create_topic(place.settings.input, PARTITIONS + 1)
    assert place.broker.partitions("no-such-topic") is None
