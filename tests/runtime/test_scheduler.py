"""Binary chunking: every row once, in order, in few calls."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.core.scheduler import LEAST_STEPS, LEAST_STREAMS, Call, Limits, plan, plans

RECORDS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 40)), max_size=60)


def planned(records: list[tuple[int, int]], limits: Limits) -> list[Call]:
    slots = np.array([slot for slot, _ in records], np.int64)
    lengths = np.array([length for _, length in records], np.int64)
    return list(plan(slots, np.cumsum(lengths) - lengths, lengths, limits))


@given(RECORDS, st.sampled_from([1, 2, 8, 64]), st.integers(64, 200), st.integers(1, 9))
def test_plan_of_any_records_takes_every_row_once_and_in_order(records, chunk, steps, streams):
    taken: dict[int, list[int]] = {}
    for call in planned(records, Limits(chunk, steps, streams)):
        time, batch = call.rows.shape
        assert time & (time - 1) == 0
        assert time <= chunk
        assert time * batch <= steps
        assert batch <= streams
        assert len(set(call.slots.tolist())) == batch == call.slots.size
        for column, slot in enumerate(call.slots.tolist()):
            taken.setdefault(slot, []).extend(call.rows[:, column].tolist())
    expected: dict[int, list[int]] = {}
    row = 0
    for slot, length in records:
        expected.setdefault(slot, []).extend(range(row, row + length))
        row += length
    assert taken == {slot: rows for slot, rows in expected.items() if rows}


def test_plan_of_thirteen_steps_makes_chunks_of_one_four_and_eight():
    assert [call.rows.shape for call in planned([(0, 13)], Limits())] == [(1, 1), (4, 1), (8, 1)]


def test_plan_with_a_backlog_serves_single_steps_first():
    calls = planned([(0, 1000), (1, 1), (2, 1)], Limits(chunk=64))
    assert calls[0].rows.shape[0] == 1 or set(calls[0].slots.tolist()) >= {1, 2}
    first_with = next(index for index, call in enumerate(calls) if 1 in call.slots)
    assert first_with == 0


def test_plan_of_few_deep_streams_needs_few_calls():
    calls = planned([(slot, 1023) for slot in range(4)], Limits(chunk=64))
    assert len(calls) == 6 + 15


def test_plan_of_nothing_makes_no_call():
    assert planned([], Limits()) == []
    assert planned([(3, 0)], Limits()) == []


@pytest.mark.parametrize("chunk", [0, 3, -4])
def test_limits_with_a_chunk_that_is_no_power_of_two_are_refused(chunk):
    with pytest.raises(ValueError, match="power of two"):
        Limits(chunk=chunk)


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 90)), max_size=120), st.integers(1, 5))
def test_plans_for_threads_share_the_streams_and_take_every_row_once(records, most):
    slots = np.array([slot for slot, _ in records], np.int64)
    lengths = np.array([length for _, length in records], np.int64)
    shares = [list(calls) for calls in plans(slots, np.cumsum(lengths) - lengths, lengths, Limits(), most)]
    streams = [{slot for call in calls for slot in call.slots.tolist()} for calls in shares]
    assert len(shares) <= most
    assert sum(map(len, streams)) == len(set().union(*streams)) == len(set(slots[lengths > 0].tolist()))
    rows = sorted(row for calls in shares for call in calls for row in call.rows.reshape(-1).tolist())
    assert rows == list(range(int(lengths.sum())))
    if len(shares) > 1:
        steps = [sum(call.rows.size for call in calls) for calls in shares]
        deepest = int(np.bincount(slots, lengths).max())
        assert max(steps) - min(steps) <= len(shares) * deepest
        assert min(map(len, streams)) >= LEAST_STREAMS


def test_plans_of_little_work_or_few_streams_are_one():
    one = np.ones(LEAST_STEPS, np.int64)
    assert len(plans(np.arange(LEAST_STEPS), np.arange(LEAST_STEPS), one, Limits(), 2)) == 1
    few = 2 * LEAST_STREAMS - 1
    deep = np.full(few, LEAST_STEPS, np.int64)
    assert len(plans(np.arange(few), np.arange(few) * LEAST_STEPS, deep, Limits(), 2)) == 1
    twice = np.arange(2 * LEAST_STEPS)
    assert len(plans(twice, twice, np.ones(twice.size, np.int64), Limits(), 2)) == 2
