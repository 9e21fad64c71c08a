"""The arena of a device, with NumPy in place of CuPy: like the plain arena, whatever fits on the device."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_rnn.contract.errors import EngineError
from runtime.core.arena import Arena
from runtime.core.device_arena import DeviceArena
from tests.runtime.test_arena import FIRST, SPECS

ROWS = 4


def device_arena(rows: int = ROWS, capacity: int = 12) -> DeviceArena:
    arena = DeviceArena(SPECS, FIRST, np, rows, capacity=capacity)
    arena.reset(np.arange(capacity))
    return arena


def states(rng: np.random.Generator, n: int) -> list[np.ndarray]:
    return [rng.random((n, 2, 3), np.float32), rng.integers(0, 99, n), np.zeros((n, 0), np.float32)]


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 9), count=st.integers(1, 40))
def test_device_arena_after_any_calls_holds_what_the_plain_arena_holds(seed: int, rows: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    plain, device = Arena(SPECS, FIRST, 8), DeviceArena(SPECS, FIRST, np, rows, capacity=8)
    for arena in (plain, device):
        arena.reset(np.arange(8))
    for _ in range(count):
        most = min(rows, plain.capacity)
        slots = rng.permutation(plain.capacity)[: rng.integers(1, most + 1)]
        call = rng.integers(6)
        if call == 0:
            for mine, theirs in zip(device.gather(slots), plain.gather(slots), strict=True):
                assert mine.tobytes() == theirs.tobytes()
        elif call == 1:
            values = states(rng, slots.size)
            for arena in (plain, device):
                arena.scatter(slots, values)
        elif call == 2:
            assert (device.read(slots) == plain.read(slots)).all()
        elif call == 3:
            for arena in (plain, device):
                arena.reset(slots)
        elif call == 4:
            others = rng.permutation(plain.capacity)[: slots.size]
            read = plain.read(others)
            for arena in (plain, device):
                arena.write(slots, read)
        else:
            before = plain.capacity
            for arena in (plain, device):
                arena.grow(before + 2)
                arena.reset(np.arange(before, before + 2))
    everyone = np.arange(plain.capacity)
    assert (device.read(everyone) == plain.read(everyone)).all()


def test_streams_beyond_the_device_spill_and_come_back() -> None:
    arena, rng = device_arena(), np.random.default_rng(0)
    given = states(rng, 12)
    for start in (0, 4, 8):
        arena.scatter(np.arange(start, start + 4), [value[start : start + 4] for value in given])
    assert arena.saved == 8
    for start in (0, 4, 8):
        found = arena.gather(np.arange(start, start + 4))
        for value, expected in zip(found, given, strict=True):
            assert (value == expected[start : start + 4]).all()


def test_row_used_longest_ago_makes_room() -> None:
    arena = device_arena()
    for slot in (0, 1, 2, 3, 0):
        arena.gather(np.array([slot]))
    loaded = arena.loaded
    arena.gather(np.array([7]))  # in the place of 1
    arena.gather(np.array([0, 2, 3, 7]))
    assert arena.loaded == loaded + 1
    arena.gather(np.array([1]))
    assert arena.loaded == loaded + 2


def test_slots_of_a_call_do_not_make_room_for_each_other() -> None:
    arena, rng = device_arena(), np.random.default_rng(1)
    given = states(rng, 4)
    arena.scatter(np.arange(4), given)
    found = arena.gather(np.array([9, 0, 8, 1]))  # 0 and 1 were used as long ago as 2 and 3
    assert (found[0][1] == given[0][0]).all()
    assert (found[0][3] == given[0][1]).all()
    assert (found[0][0] == 0.5).all()


def test_read_copies_dirty_rows_only() -> None:
    arena, rng = device_arena(), np.random.default_rng(2)
    arena.gather(np.arange(4))
    arena.read(np.arange(4))
    assert arena.saved == 0
    arena.scatter(np.array([1, 3]), states(rng, 2))
    arena.read(np.arange(12))
    assert arena.saved == 2
    arena.read(np.arange(12))
    assert arena.saved == 2


def test_clean_row_makes_room_without_a_copy() -> None:
    arena = device_arena()
    arena.gather(np.arange(4))
    arena.gather(np.arange(4, 8))
    assert (arena.loaded, arena.saved) == (8, 0)


def test_call_for_more_streams_than_rows_is_refused() -> None:
    with pytest.raises(EngineError, match="5 streams does not fit a device with rows for 4"):
        device_arena().gather(np.arange(5))


def test_states_pass_between_host_and_device_by_the_modules_own_functions() -> None:
    """Every array that the device gets was put there, and none leaves it but by ``asnumpy``: CuPy mixes neither."""

    class OnDevice(np.ndarray):
        pass

    def down(array: Any) -> np.ndarray:
        assert isinstance(array, OnDevice)
        return np.array(array)

    xp = SimpleNamespace(
        empty=lambda shape, dtype: np.empty(shape, dtype).view(OnDevice),
        asarray=lambda value, dtype=None: np.asarray(value, dtype).view(OnDevice),
        asnumpy=down,
    )
    arena = DeviceArena(SPECS, FIRST, xp, 2, capacity=6)
    arena.reset(np.arange(6))
    arena.scatter(np.array([0, 1]), [xp.asarray(value) for value in states(np.random.default_rng(3), 2)])
    assert all(isinstance(value, OnDevice) for value in (*arena.gather(np.array([4, 5])), *arena.first()))
    assert type(arena.read(np.arange(6))) is np.ndarray
    assert arena.saved == 2
