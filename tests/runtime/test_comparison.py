"""Pairs of outputs: found in their order, compared by number and by class, given up after a time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.core.batch import Outgoing, RecordBatch
from runtime.core.comparison import Comparison


def read(value: bytes) -> np.ndarray:
    return np.frombuffer(value, "<f4").astype(np.float64).reshape(-1, 2)


def value(*numbers: float) -> bytes:
    return np.array(numbers, "<f4").tobytes()


def comparison(tolerance: float = 1e-3) -> Comparison:
    return Comparison(read, classes=True, tolerance=tolerance)


Record = tuple[int, bytes, int, bytes]


def ours(*records: Record) -> Outgoing:
    columns = list(zip(*records, strict=True)) or [[], [], [], []]
    return Outgoing(np.array(columns[0], np.int32), np.array(columns[2], np.int64), list(columns[1]), list(columns[3]))


def theirs(*records: Record) -> RecordBatch:
    sent = ours(*records)
    return RecordBatch(sent.partitions, np.arange(len(sent)), sent.timestamps, sent.keys, sent.values, {})


def test_pairs_are_compared_by_bits_by_number_and_by_class():
    found = comparison(tolerance=0.1)
    found.ours(
        ours((0, b"a", 1, value(1, 0)), (0, b"b", 1, value(1, 0)), (0, b"c", 1, value(1, 0)), (0, b"d", 1, b"xx")), 0.0
    )
    old = theirs(
        (0, b"d", 1, value(1, 0)),
        (0, b"c", 1, value(0, 1)),
        (0, b"b", 1, value(1.05, 0)),
        (0, b"a", 1, value(1, 0)),
    )
    found.theirs(old, 0.0, same_partitions=True)
    report = found.report()
    assert (report["compared"], report["identical"], report["close"], report["same_class"]) == (4, 0.25, 0.5, 0.5)
    assert (report["unreadable"], report["waiting"]) == (1, 0)
    assert report["largest_difference"] == 1.0
    assert report["mean_difference"] == pytest.approx(1.05 / 4)


@given(
    st.lists(st.tuples(st.sampled_from([b"a", b"b"]), st.integers(0, 2)), max_size=40),
    st.randoms(use_true_random=False),
    st.booleans(),
)
def test_same_records_pair_whatever_the_interleaving_and_the_repeats(places, random, same_partitions):
    records = [(0, key, stamp, value(n, 0)) for n, (key, stamp) in enumerate(places)]
    found = comparison()
    mine, other = list(records), list(records)
    while mine or other:
        queue, take = (mine, True) if mine and (not other or random.random() < 0.5) else (other, False)
        some = [queue.pop(0) for _ in range(random.randint(1, len(queue)))]
        if take:
            found.ours(ours(*[record if same_partitions else (-1, *record[1:]) for record in some]), 0.0)
        else:
            found.theirs(theirs(*some), 0.0, same_partitions=same_partitions)
    assert found.compared == found.identical == len(records)
    assert found.waiting == 0


def test_what_finds_no_pair_is_told_after_its_time():
    found = comparison()
    found.ours(ours((0, b"a", 1, value(1, 0))), 10.0)
    found.ours(ours((0, b"a", 1, value(2, 0)), (1, b"a", 1, value(1, 0))), 20.0)
    found.theirs(theirs((0, b"b", 1, value(1, 0))), 12.0, same_partitions=True)
    found.expire(10.0)
    assert (found.only_ours, found.only_theirs, found.waiting) == (0, 0, 4)
    found.expire(15.0)
    assert (found.only_ours, found.only_theirs, found.waiting) == (1, 1, 2)
    found.theirs(theirs((0, b"a", 1, value(2, 0))), 21.0, same_partitions=True)
    assert (found.compared, found.identical, found.waiting) == (1, 1, 1)
    found.clear()
    assert found.waiting == 0
