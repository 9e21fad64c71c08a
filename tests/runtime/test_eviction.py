"""Evicted streams begin anew, and after any failure they begin anew in the same places."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_rnn.contract.bundle import Bundle
from edge_rnn.contract.fingerprint import state_fingerprint
from runtime.checkpoint.checkpoint import Checkpoint
from runtime.checkpoint.policy import RecoveryPolicy, SnapshotPolicy
from runtime.checkpoint.recovered import Recovered
from runtime.checkpoint.recovery import Recovery
from runtime.checkpoint.snapshot import CLOSED
from runtime.core.batch import Outgoing, RecordBatch
from runtime.core.column import as_column
from runtime.core.streams import StreamTable
from runtime.transports.connect import open_broker, open_transport
from runtime.transports.protocol import Delivery, MemberSettings
from tests.oracle import Oracle
from tests.runtime.test_processor import processor_of

PARTITIONS = 2
IDLE_MS = 1000
INTERVAL_S = 10.0


class Place:
    """A store with an input of two partitions, and what was written to it."""

    def __init__(self, folder: Path) -> None:
        self.url = f"sqlite:{folder / 'store.sqlite'}"
        self.broker = open_broker(self.url)
        for topic in ("in", "out"):
            self.broker.create_topic(topic, PARTITIONS)
        self.written: dict[tuple[int, int], tuple[bytes, np.ndarray | None, int]] = {}
        self._offsets = [0] * PARTITIONS
        self._rng = np.random.default_rng(0)
        self.now_ms = 0

    def feed(self, streams: Sequence[tuple[int, bytes]], *, end: bool = False) -> None:
        rows = [None if end else self._rng.standard_normal(3).astype(np.float32) for _ in streams]
        self.broker.write(
            "in",
            Outgoing(
                partitions=np.array([partition for partition, _ in streams], np.int32),
                timestamps=np.full(len(streams), self.now_ms, np.int64),
                keys=[key for _, key in streams],
                values=[None if row is None else row.tobytes() for row in rows],
            ),
        )
        for (partition, key), row in zip(streams, rows, strict=True):
            self.written[partition, self._offsets[partition]] = (key, row, self.now_ms)
            self._offsets[partition] += 1

    def close(self) -> None:
        self.broker.close()

    def outputs(self) -> dict[tuple[int, bytes], list[bytes]]:
        batch, found = self.broker.read("out"), {}
        for partition, key, value in zip(batch.partitions.tolist(), batch.keys, batch.values, strict=True):
            found.setdefault((partition, key), []).append(value)
        return found

    def stored(self) -> dict[tuple[int, bytes], bytes]:
        """The state topic as compaction leaves it, by partition and stream."""
        batch, found = self.broker.read("g-state"), {}
        for partition, key, value in zip(batch.partitions.tolist(), batch.keys, batch.values, strict=True):
            found[partition, (key or b"")[8:]] = value
        return {key: value for key, value in found.items() if value}


class Expected:
    """What must come out, by a plain loop that is told in which order records and evictions took effect."""

    def __init__(self, bundle: Bundle, place: Place) -> None:
        self._oracle, self._place = Oracle(bundle.path), place
        self._newest: dict[tuple[int, bytes], int] = {}
        self.outputs: dict[tuple[int, bytes], list[bytes]] = {}

    def record(self, partition: int, offset: int) -> None:
        key, row, stamp = self._place.written[partition, offset]
        stream = (partition, key)
        if row is None:
            self.evict(stream)
            return
        if stamp - self._newest.get(stream, stamp) > IDLE_MS:
            self.evict(stream)
        self._newest[stream] = max(stamp, self._newest.get(stream, stamp))
        self.outputs.setdefault(stream, []).append(self._oracle.step(stream, row).tobytes())

    def evict(self, stream: tuple[int, bytes]) -> None:
        self._oracle.end(stream)
        self._newest.pop(stream, None)


class Member:
    """One life of a daemon's parts, step by step: what it does takes effect in ``expected`` when it is committed."""

    def __init__(self, place: Place, bundle: Bundle, expected: Expected, delivery: Delivery = "exactly-once") -> None:
        self._expected = expected
        self._transport = open_transport(MemberSettings(place.url, "g", "in", "out", "one"))
        self.processor = processor_of(bundle, idle_reset_ms=IDLE_MS)
        parts = (self.processor, self._transport, state_fingerprint(bundle.manifest, {}))
        state_bytes = bundle.manifest.state_bytes
        policy = SnapshotPolicy(INTERVAL_S, bytes_per_s=1e9)
        self._checkpoint = Checkpoint(*parts, policy, state_bytes, delivery=delivery)
        self._recovery = Recovery(*parts, RecoveryPolicy(), state_bytes)
        self._replaying: dict[int, Recovered] = {}
        self._positions: dict[int, int] = {}
        self._epoch: list[tuple[str, int, int | bytes]] = []
        self._transport.open(self)
        self._assigned: list[int] = []
        assert not len(self._transport.poll(1, 0.0))
        for partition in self._assigned:
            self.recover(partition)

    def assigned(self, partitions: Sequence[int]) -> None:
        self._assigned = list(partitions)

    def recover(self, partition: int) -> None:
        self._checkpoint.drop([partition])
        self._positions.pop(partition, None)
        work = self._recovery.recover(partition)
        while True:
            try:
                next(work)
            except StopIteration as done:
                recovered = done.value
                break
        self._transport.serve(partition, recovered.replay_from)
        self._replaying[partition] = recovered
        self._live_from({partition: recovered.replay_from})

    def _live_from(self, positions: dict[int, int]) -> None:
        for partition, recovered in list(self._replaying.items()):
            if positions.get(partition, -1) >= recovered.offset:
                del self._replaying[partition]
                self._checkpoint.begin(partition, recovered)
                if recovered.anew:
                    self._positions[partition] = recovered.offset

    def poll(self, most: int, now_s: float) -> None:
        batch: RecordBatch = self._transport.poll(most, 0.0)
        until = np.array([self._replaying[p].offset if p in self._replaying else 0 for p in batch.partitions.tolist()])
        again = np.flatnonzero(batch.offsets < until).tolist()
        if again:
            self.processor.replay(batch.pick(again), now_s)
        self._live_from(batch.positions)
        rest = batch.pick(np.flatnonzero(batch.offsets >= until).tolist())
        if len(rest):
            self._transport.send(self.processor.process(rest, now_s).outputs, "output")
        live = {partition: offset for partition, offset in rest.positions.items() if partition not in self._replaying}
        self._positions.update(live)
        self._epoch += [
            ("record", partition, offset)
            for partition, offset in zip(rest.partitions.tolist(), rest.offsets.tolist(), strict=True)
        ]

    def evict(self, most: int) -> int:
        before = self.streams()
        gone = self._checkpoint.evict(most)
        evicted = before - self.streams()
        assert len(evicted) == gone
        assert {partition for partition, _ in evicted}.isdisjoint(self._replaying)
        self._epoch += [("evict", partition, key) for partition, key in sorted(evicted)]
        return gone

    def streams(self) -> set[tuple[int, bytes]]:
        table = self.processor.streams
        return {(p, key) for p in range(PARTITIONS) for key in table.keys_of(table.slots_of(p))}

    def commit(self, now_s: float) -> None:
        self._checkpoint.commit(self._positions, now_s)
        self._positions = {}
        for what, partition, which in self._epoch:
            if what == "record":
                self._expected.record(partition, int(which))
            else:
                self._expected.evict((partition, bytes(which)))  # type: ignore[arg-type]
        self._epoch = []

    def abort(self) -> None:
        self._transport.abort()
        self._epoch, self._positions = [], {}
        served = [partition for partition in range(PARTITIONS) if partition not in self._replaying]
        for partition in served:
            self.recover(partition)

    def close(self) -> None:
        self._transport.close()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with closing(Place(tmp_path)) as made:
        yield made


@pytest.fixture
def member(place: Place, lstm_bundle: Bundle) -> Iterator[Member]:
    with closing(Member(place, lstm_bundle, Expected(lstm_bundle, place))) as made:
        yield made


KEYS = [b"a", b"b", b"c"]
STREAMS = st.tuples(st.integers(0, PARTITIONS - 1), st.sampled_from(KEYS))
ROUNDS = st.tuples(
    st.lists(STREAMS, min_size=3, max_size=8),
    st.sampled_from(["feed"] * 5 + ["end"]),
    st.sampled_from([0, 0, 0, 0, 0, IDLE_MS + 1]),
    st.sampled_from([64, 64, 2]),
    st.sampled_from([None, 1, 2, 3, 4]),
    st.sampled_from([None, 0.1, 0.1, 0.1, 3.0, 11.0]),
    st.sampled_from(["crash", "revoke 0", "revoke 1", "abort", "", ""]),
)
"""Fed streams or one that ends, silence before (ms), most polled, most streams left, seconds to a commit, a failure."""


@settings(max_examples=100, deadline=None)
@given(st.lists(ROUNDS, min_size=6, max_size=16))
def test_outputs_with_evictions_and_failures_anywhere_equal_a_loop_told_of_the_evictions(lstm_bundle, rounds):
    with tempfile.TemporaryDirectory() as folder, closing(Place(Path(folder))) as place:
        expected = Expected(lstm_bundle, place)
        member, now_s = Member(place, lstm_bundle, expected), 0.0
        try:
            for fed, how, silence_ms, polled, left, wait_s, failure in rounds:
                place.now_ms += silence_ms
                place.feed(fed if how == "feed" else fed[:1], end=how == "end")
                member.poll(polled, now_s)
                if left is not None:
                    member.evict(left)
                if wait_s is not None:
                    now_s += wait_s
                    member.commit(now_s)
                if failure == "crash":
                    member.close()
                    member = Member(place, lstm_bundle, expected)
                elif failure == "abort":
                    member.abort()
                elif failure:
                    member.commit(now_s)
                    member.recover(int(failure[-1]))
            place.feed([(p, key) for p in range(PARTITIONS) for key in KEYS])
            for _ in range(len(place.written)):
                member.poll(64, now_s)
            member.commit(now_s)
            assert place.outputs() == expected.outputs
            assert sum(map(len, expected.outputs.values())) == sum(r is not None for _, r, _ in place.written.values())
        finally:
            member.close()


def test_closing_stands_until_no_replay_can_come_across_it_and_is_then_deleted(place, member):
    place.feed([(0, b"b"), (0, b"a"), (0, b"b"), (0, b"c")])
    member.poll(9, 0.0)
    assert member.evict(2) == 1
    member.commit(1.0)
    assert {key: value[1] for key, value in place.stored().items()} == {(0, b"a"): CLOSED}
    place.feed([(0, b"b")])
    member.poll(9, 2.0)
    member.commit(20.0)  # all of the others are saved now: nothing before is replayed
    assert set(place.stored()) == {(0, b"b"), (0, b"c")}
    assert not any(value[1] for value in place.stored().values())


@pytest.mark.parametrize("delivery", ["exactly-once", "at-least-once"])
def test_snapshot_of_a_stream_that_came_back_outlives_the_closing_it_replaced(place, lstm_bundle, delivery):
    with closing(Member(place, lstm_bundle, Expected(lstm_bundle, place), delivery)) as member:
        place.feed([(0, b"b"), (0, b"a"), (0, b"b"), (0, b"c")])  # b needs what comes before the end of a
        member.poll(9, 0.0)
        assert member.evict(2) == 1
        member.commit(1.0)
        place.feed([(0, b"a")])
        member.poll(9, 2.0)
        for now_s in (20.0, 21.0, 22.0, 23.0):
            place.feed([(0, b"b")])
            member.poll(9, now_s)
            member.commit(now_s)
        stored = place.stored()
        assert stored[0, b"a"][1] != CLOSED
        assert set(stored) == {(0, b"a"), (0, b"b"), (0, b"c")}


def table_of(*batches: Sequence[int], partition_of: dict[int, int] | None = None) -> StreamTable:
    """Streams named by numbers, touched in these batches."""
    table, offset = StreamTable(capacity=2), 0
    for batch in batches:
        for stream in batch:
            table.take((partition_of or {}).get(stream, 0), [b"%d" % stream])
        slots = np.array([table.find((partition_of or {}).get(s, 0), b"%d" % s) for s in batch])
        table.touch(slots, np.arange(offset, offset + len(batch)), np.zeros(len(batch), np.int64), 0.0)
        offset += len(batch)
    return table


def names(table: StreamTable, partition: int = 0) -> set[int]:
    return {int(key) for key in table.keys_of(table.slots_of(partition))}


def test_evict_takes_those_touched_least_recently():
    table = table_of([1, 2, 3, 4], [1, 5])
    assert table.evict(4, {0}) == 1
    assert names(table) == {1, 3, 4, 5}
    assert table.evict(3, {0}) == 1
    assert names(table) == {1, 4, 5}
    assert table.evict(3, {0}) == 0


def test_evict_spares_the_last_batch_unless_it_alone_is_too_much():
    table = table_of([1, 2], [3, 4, 5])
    assert table.evict(3, {0}) == 2
    assert names(table) == {3, 4, 5}
    assert table.evict(2, {0}) == 1
    assert names(table) == {4, 5}


def test_evict_makes_room_for_some_more_at_once():
    table = table_of(range(1000), range(1000, 1010))
    assert table.evict(1000, {0}) == 20
    assert names(table) == set(range(20, 1010))


def test_evict_takes_only_from_the_partitions_given_and_goes_as_far_as_it_can():
    table = table_of([1, 2, 3], [4], partition_of={1: 1, 2: 1, 3: 0, 4: 0})
    assert table.evict(1, {0}) == 1
    assert names(table) == {4}
    assert names(table, 1) == {1, 2}
    assert table.evict(1, ()) == 0


def test_evict_takes_restored_streams_first_the_oldest_record_time_before():
    table = table_of([1])
    table.restore(0, [b"2", b"3"], np.array([7, 8]), np.array([2000, 1000]))
    assert table.evict(2, {0}) == 1
    assert names(table) == {1, 2}
    assert table.evict(1, {0}) == 1
    assert names(table) == {1}


def test_seen_of_a_closed_stream_is_the_offset_of_its_end():
    table = table_of([1, 2])
    table.evict(1, {0})
    table.closings.take(0, 0, 9)
    assert table.seen(np.zeros(3, np.int32), as_column([b"1", b"2", b"3"])).tolist() == [0, 1, -1]


def test_slots_of_evicted_streams_are_used_again(place, member):
    for number in range(40):
        place.feed([(0, b"%d-%d" % (number, each)) for each in range(100)])
        member.poll(1000, 0.0)
        member.evict(200)
        member.commit(float(number))
    assert member.processor.streams.capacity == 1024
    assert len(member.streams()) <= 200
    assert sum(map(len, place.outputs().values())) == 4000
