"""Binary chunking: every row once, in order, in few calls."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.core.scheduler import Call, Limits, plan

RECORDS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 40)), max_size=60)


def planned(records: list[tuple[int, int]], limits: Limits) -> list[Call]:
    slots = np.array([slot for slot, _ in records], np.int64)
    lengths = np.array([length for _, length in records], np.int64)
    return list(plan(slots, np.cumsum(lengths) - lengths, lengths, limits))


@given(RECORDS, st.sampled_from([1, 2, 8, 64]), st.integers(64, 200))
def test_plan_of_any_records_takes_every_row_once_and_in_order(records, chunk, steps):
    taken: dict[int, list[int]] = {}
    for call in planned(records, Limits(chunk, steps)):
        time, batch = call.rows.shape
        assert time & (time - 1) == 0
        assert time <= chunk
        assert time * batch <= steps
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
