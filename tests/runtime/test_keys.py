"""The table of keys holds what a dict would hold, whatever the keys are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.core.column import as_column
from runtime.core.keys import MOST_BYTES, NONE, KeyTable
from runtime.core.streams import StreamTable

KEYS = st.one_of(
    st.binary(max_size=3),
    st.sampled_from([b"k" * n for n in (7, 8, 9, 16, 17, MOST_BYTES - 1, MOST_BYTES, MOST_BYTES + 1, 300)]),
    st.sampled_from([b"k" * 8 + b"\0", b"\0" * 8, b"\0" * 9, b"k" * MOST_BYTES + b"\0"]),
    st.integers(0, 40).map(lambda n: b"%04d" % n),
)
STREAMS = st.tuples(st.integers(0, 2), KEYS)
CAPACITY = 4096


def names_of(table, streams):
    return table.names(np.array([p for p, _ in streams], np.int64), as_column([key for _, key in streams]))


@given(st.lists(st.tuples(st.sampled_from(["put", "put", "remove", "move", "find"]), st.lists(STREAMS, max_size=12))))
def test_find_after_anything_is_what_a_dict_says(actions):
    table, model, free = KeyTable(CAPACITY), {}, list(range(CAPACITY))
    for action, some in actions:
        streams = list(dict.fromkeys(some))
        if action == "put":
            streams = [stream for stream in streams if stream not in model]
            slots = [free.pop() for _ in streams]
            if streams:
                table.put(np.array(slots), names_of(table, streams))
            model.update(zip(streams, slots, strict=True))
        elif action == "remove":
            slots = [model.pop(stream) for stream in streams if stream in model]
            table.remove(np.array(slots, np.int64))
            table.clear(np.array(slots, np.int64))
        elif action == "move":
            for stream in streams:
                if stream in model:
                    old, model[stream] = model[stream], free.pop()
                    table.move(old, model[stream])
        else:
            found = table.find(names_of(table, some)).tolist() if some else []
            assert found == [model.get(stream, NONE) for stream in some]
            assert found == [table.find_one(*stream) for stream in some]
    slots = np.array(list(model.values()), np.int64)
    assert table.keys_of(slots) == [key for _, key in model]
    assert table.partitions[slots].tolist() == [partition for partition, _ in model]
    assert len(table) == len(model)
    for partition in range(3):
        mine = sorted(slot for (p, _), slot in model.items() if p == partition)
        assert table.slots_of(partition).tolist() == mine
        assert table.live(partition) == len(mine)


@pytest.mark.parametrize("width", [4, 13, 80])
def test_many_keys_are_found_while_the_table_grows_and_after_most_have_gone(width):
    table = KeyTable(20_000)
    keys = [b"%0*d" % (width, number) for number in range(20_000)]
    for begin in range(0, 20_000, 1000):
        table.put(np.arange(begin, begin + 1000), table.names(0, keys[begin : begin + 1000]))
    assert (table.find(table.names(0, keys)) == np.arange(20_000)).all()
    assert (table.find(table.names(1, keys)) == NONE).all()
    for begin in range(0, 20_000, 1000):  # come and go, so that gone entries pile up
        gone = np.arange(begin, begin + 1000)
        table.remove(gone)
        table.clear(gone)
        if begin >= 10_000:
            table.put(gone, table.names(1, keys[begin : begin + 1000]))
    assert (table.find(table.names(0, keys)) == NONE).all()
    assert (table.find(table.names(1, keys)) == np.where(np.arange(20_000) < 10_000, NONE, np.arange(20_000))).all()


def test_first_places_are_in_order_also_where_two_hashes_are_the_same(monkeypatch):
    monkeypatch.setattr(KeyTable, "_hashes", lambda self, rows, lengths: np.zeros(len(rows), np.uint64))
    table = KeyTable(64)
    names = table.names(0, [b"b", b"a", b"b", b"c", b"a"])
    first, which = table.first_places(names)
    assert (first.tolist(), which.tolist()) == ([0, 1, 3], [0, 1, 0, 2, 1])
    table.put(np.array([5, 6, 7]), names.of(first))
    assert table.find(names).tolist() == [5, 6, 5, 7, 6]


RECORDS = st.lists(
    st.tuples(st.integers(0, 1), st.sampled_from([b"a", b"b", b"c"]), st.sampled_from(["live", "dead", "end"])),
    max_size=14,
)


@given(st.lists(RECORDS, max_size=4))
def test_follow_gives_the_streams_that_records_one_by_one_would_have(batches):
    table, alone = StreamTable(capacity=2), {}
    begun = 0
    for batch in batches:
        partitions = np.array([p for p, _, _ in batch], np.int32)
        live = np.array([what == "live" for *_, what in batch], bool)
        ends = np.flatnonzero([what == "end" for *_, what in batch])
        slots, new, ended = table.follow(partitions, as_column([key for _, key, _ in batch]), live, ends)
        expected, over = [], 0
        for partition, key, what in batch:
            if what == "end":
                over += alone.pop((partition, key), None) is not None
            elif what == "live":
                begun += (partition, key) not in alone
                expected.append(alone.setdefault((partition, key), f"stream {begun}"))
        taken = slots[live].tolist()
        assert (slots[~live] == NONE).all()
        assert len(dict(zip(taken, expected, strict=True))) == len(set(taken)) == len(set(expected))
        assert len(set(zip(taken, expected, strict=True))) == len(set(expected))
        assert set(new.tolist()) <= set(taken)
        assert len(ended) == len(set(ended)) == over
        assert table.owners(slots[live]).tolist() == partitions[live].tolist()
        table.release(ended)
        assert len(table) == len(alone)
        assert {(p, key) for p in (0, 1) for key in table.keys_of(table.slots_of(p))} == set(alone)


def test_a_batch_of_ends_and_beginnings_of_many_streams_takes_them_in_order():
    table, n = StreamTable(), 3000
    keys = as_column([b"%d" % (number % 1000) for number in range(n)])
    partitions, ends = np.zeros(n, np.int32), np.arange(1000, 2000)
    live = np.ones(n, bool)
    live[ends] = False
    slots, new, ended = table.follow(partitions, keys, live, ends)
    assert set(ended) == set(slots[:1000].tolist())
    assert not set(ended) & set(slots[2000:].tolist())
    assert new.size == 2000
    assert table.take_ended() == sorted((0, b"%d" % number) for number in range(1000))
