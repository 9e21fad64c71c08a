"""The arena: gather and scatter, read and write are inverse pairs."""

from __future__ import annotations

import numpy as np
import pytest

from edge_rnn.contract.signature import StateSpec
from runtime.core.arena import Arena

SPECS = [
    StateSpec(name="h", input="h", output="h.next", dtype="float32", shape=(2, "batch", 3)),
    StateSpec(name="n", input="n", output="n.next", dtype="int64", shape=("batch",)),
    StateSpec(name="e", input="e", output="e.next", dtype="float32", shape=("batch", 0)),
]
FIRST = [np.full((2, 3), 0.5, np.float32), np.array(7, np.int64), np.zeros(0, np.float32)]


def filled(capacity: int = 8) -> Arena:
    arena = Arena(SPECS, FIRST, capacity)
    arena.reset(np.arange(capacity))
    return arena


def test_reset_gives_the_first_values():
    h, n, e = filled().gather(np.array([3, 1]))
    assert h.shape == (2, 2, 3)
    assert (h == 0.5).all()
    assert n.tolist() == [7, 7]
    assert e.shape == (2, 0)


def test_scatter_after_gather_is_the_identity():
    arena = filled()
    rng = np.random.default_rng(0)
    slots = np.array([6, 0, 3])
    arena.scatter(slots, [rng.random((3, 2, 3), np.float32), np.arange(3), np.zeros((3, 0), np.float32)])
    before = arena.read(np.arange(8))
    arena.scatter(slots, arena.gather(slots))
    assert (arena.read(np.arange(8)) == before).all()


@pytest.mark.parametrize("capacity", [64, 128], ids=["made", "grown"])
@pytest.mark.parametrize("n", [1, 16, 17, 60])
def test_scatter_of_values_in_any_layout_and_number_puts_each_where_its_slot_is(n, capacity):
    arena = filled(64)
    arena.grow(capacity)
    rng = np.random.default_rng(n)
    slots = rng.permutation(64)[:n]
    h = np.moveaxis(rng.random((2, 3, n), np.float32), 2, 0)  # as a graph with another order of axes gives it
    number = rng.integers(0, 9, 2 * n)[::2]
    arena.scatter(slots, [h, number, np.zeros((n, 0), np.float32)])
    found = arena.gather(np.arange(64))
    expected, numbers = np.full((64, 2, 3), 0.5, np.float32), np.full(64, 7)
    expected[slots], numbers[slots] = h, number
    assert (found[0] == expected).all()
    assert (found[1] == numbers).all()


def test_write_after_read_is_the_identity_in_another_arena():
    arena, other = filled(), filled(4)
    rng = np.random.default_rng(1)
    slots = np.array([5, 2])
    arena.scatter(slots, [rng.random((2, 2, 3), np.float32), np.array([-1, 9]), np.zeros((2, 0), np.float32)])
    rows = arena.read(slots)
    assert rows.shape == (2, arena.row_bytes) == (2, 32)
    other.write(np.array([1, 3]), rows)
    for mine, theirs in zip(arena.gather(slots), other.gather(np.array([1, 3])), strict=True):
        assert (mine == theirs).all()


def test_grow_keeps_what_is_there():
    arena = filled(2)
    arena.scatter(np.array([1]), [np.ones((1, 2, 3), np.float32), np.array([3]), np.zeros((1, 0), np.float32)])
    arena.grow(100)
    assert arena.capacity == 100
    assert arena.gather(np.array([1]))[1].tolist() == [3]


@pytest.mark.parametrize("capacity", [1, 2])
def test_grow_to_less_changes_nothing(capacity):
    arena = filled(2)
    arena.grow(capacity)
    assert arena.capacity == 2


def test_read_of_no_slots_gives_no_rows():
    assert filled().read(np.empty(0, np.int64)).shape == (0, 32)
