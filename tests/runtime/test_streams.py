"""Streams and their slots."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from runtime.core.dirty import Change
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


def touched(table, slot, *offsets, now=0.0):
    n = len(offsets)
    table.touch(np.full(n, slot), np.array(offsets), np.arange(n), now)


def test_touch_keeps_the_last_offset_the_newest_timestamp_and_the_first_unsaved_offset():
    table = StreamTable()
    (slot,), _ = table.take(3, [b"a"])
    table.touch(np.array([slot, slot]), np.array([5, 6]), np.array([200, 100]), 1.0)
    assert (table.offsets[slot], table.timestamps[slot], table.unsaved[slot]) == (6, 200, 5)
    assert table.oldest_change(3) == Change(slot, 5, 1.0)
    table.saved(np.array(table.due(3, 1, 1, 0.0)))
    assert table.oldest_change(3) is None
    touched(table, slot, 9, now=2.0)
    assert table.replay_from(3, 50) == 9


def test_due_gives_the_oldest_first_and_no_more_than_allowed():
    table = StreamTable()
    slots, _ = table.take(0, [b"a", b"b", b"c", b"d"])
    for offset, slot in enumerate(slots):
        touched(table, slot, offset, now=float(offset))
    assert table.due(0, 1, 9, -1.0) == slots[:1]
    assert table.due(0, 0, 9, 2.0) == slots[1:3]
    assert table.due(0, 9, 0, 9.0) == []
    assert table.due(0, 9, 9, 0.0) == slots[3:]


@given(
    st.lists(
        st.tuples(st.sampled_from(["touch", "end", "save", "drop", "renew"]), st.integers(0, 4), st.integers(0, 1))
    )
)
def test_replay_from_after_anything_is_the_lowest_offset_that_is_not_saved(actions):
    table = StreamTable(capacity=1)
    model: dict[tuple[int, int], int] = {}
    for offset, (action, key, partition) in enumerate(actions):
        name = b"%d" % key
        if action == "touch":
            (slot,), _ = table.take(partition, [name])
            touched(table, slot, offset)
            model.setdefault((partition, key), offset)
        elif action == "end":
            slot = table.end(partition, name)
            table.release([] if slot is None else [slot])
            model.pop((partition, key), None)
        elif action == "save":
            taken = table.due(partition, 1, 1, -1.0)
            table.saved(np.array(taken, np.int64))
            mine = {stream: first for stream, first in model.items() if stream[0] == partition}
            if mine:
                oldest = min(mine, key=lambda stream: mine[stream])
                assert [int(table.key_of(slot)) for slot in taken] == [oldest[1]]
                del model[oldest]
        elif action == "drop":
            table.drop([partition])
            model = {stream: first for stream, first in model.items() if stream[0] != partition}
        elif (slot := table.find(partition, name)) is not None:
            fresh = table.renew(slot)
            table.release([slot])
            touched(table, fresh, offset)
            model[partition, key] = offset
        for each in (0, 1):
            lowest = min((first for (p, _), first in model.items() if p == each), default=10**6)
            assert table.replay_from(each, 10**6) == lowest


def test_ended_names_streams_that_ended_also_where_they_began_anew():
    table = StreamTable()
    table.take(0, [b"a", b"b"])
    table.release([slot for slot in (table.end(0, b"a"), table.end(0, b"b")) if slot is not None])
    table.take(0, [b"b"])
    assert table.any_ended(0)
    assert table.take_ended() == [(0, b"a"), (0, b"b")]
    assert not table.any_ended(0)
    assert table.take_ended() == []


def test_drop_of_a_partition_leaves_the_others():
    table = StreamTable()
    table.take(0, [b"a"])
    (kept,), _ = table.take(1, [b"a"])
    table.drop([0])
    assert table.find(0, b"a") is None
    assert table.find(1, b"a") == kept
    assert len(table) == 1
