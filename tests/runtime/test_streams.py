"""Streams and their slots."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from runtime.core.streams import StreamTable


def test_take_gives_one_slot_per_partition_and_key():
    table = StreamTable(capacity=2)
    first, new = table.take(0, [b"a", b"b", b"a"])
    assert first[0] == first[2] != first[1]
    assert new == [first[0], first[1]]
    other, _ = table.take(1, [b"a"])
    assert other[0] not in first
    assert table.take(0, [b"b"]) == ([first[1]], [])
    assert len(table) == 3
    assert table.capacity >= 3


@given(st.lists(st.tuples(st.integers(0, 2), st.binary(max_size=2), st.booleans()), max_size=80))
def test_slots_after_any_takes_and_ends_are_never_shared(actions):
    table = StreamTable(capacity=1)
    model: dict[tuple[int, bytes], int] = {}
    for partition, key, end in actions:
        if end:
            slot = table.end(partition, key)
            assert slot == model.pop((partition, key), None)
            table.release([] if slot is None else [slot])
        else:
            (slot,), _ = table.take(partition, [key])
            assert model.setdefault((partition, key), slot) == slot
        assert len(set(model.values())) == len(model) == len(table)


def test_changed_lists_what_was_touched_until_settled():
    table = StreamTable()
    slots = np.array(table.take(3, [b"a", b"b"])[0])
    table.touch(slots[[0, 0]], np.array([5, 6]), np.array([200, 100]))
    found, partitions, keys = table.changed()
    assert (found.tolist(), partitions.tolist(), keys) == ([slots[0]], [3], [b"a"])
    assert table.offsets[slots[0]] == 6
    assert table.timestamps[slots[0]] == 200
    table.settle()
    assert table.changed()[2] == []


def test_ended_forgets_a_stream_that_began_anew():
    table = StreamTable()
    table.take(0, [b"a", b"b"])
    table.release([slot for slot in (table.end(0, b"a"), table.end(0, b"b")) if slot is not None])
    table.take(0, [b"b"])
    assert table.ended() == [(0, b"a")]
    table.settle()
    assert table.ended() == []


def test_drop_of_a_partition_leaves_the_others():
    table = StreamTable()
    table.take(0, [b"a"])
    (kept,), _ = table.take(1, [b"a"])
    table.drop([0])
    assert table.find(0, b"a") is None
    assert table.find(1, b"a") == kept
    assert len(table) == 1
