"""The arena of a device, with NumPy in place of CuPy: like the plain arena, whatever fits, however late the device is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_rnn.contract.errors import EngineError
from runtime.core.arena import Arena
from runtime.core.device import Device, at_once
from runtime.core.device_arena import MOST_COPIES, DeviceArena
from runtime.core.shared_arena import SharedArena
from tests.runtime.device.late import late_device
from tests.runtime.test_arena import FIRST, SPECS

ROWS = 4
AnyArena = DeviceArena | SharedArena


def device_arena(rows: int = ROWS, capacity: int = 12, device: Device | None = None) -> DeviceArena:
    arena = DeviceArena(SPECS, FIRST, device or at_once(), rows, capacity=capacity)
    arena.reset(np.arange(capacity))
    return arena


def states(rng: np.random.Generator, n: int) -> list[np.ndarray]:
    return [rng.random((n, 2, 3), np.float32), rng.integers(0, 99, n), np.zeros((n, 0), np.float32)]


def begin_gather(arena: AnyArena, slots: np.ndarray) -> Callable[[], list[np.ndarray]]:
    """Puts a call that looks at the states of these slots into the queue; what is returned waits for it."""
    rows, found = arena.enter(slots), list[Any]()
    arena._device.queue.put(lambda: found.extend(np.array(array[rows]) for array in arena.arrays))
    mark = arena._device.queue.mark()

    def wait() -> list[np.ndarray]:
        mark.wait()
        return found

    return wait


def gather(arena: AnyArena, slots: np.ndarray) -> list[np.ndarray]:
    return begin_gather(arena, slots)()


def scatter(arena: AnyArena, slots: np.ndarray, values: Sequence[np.ndarray]) -> None:
    """Puts a call that gives these slots new states into the queue."""
    rows = arena.enter(slots)

    def work() -> None:
        for array, value in zip(arena.arrays, values, strict=True):
            array[rows] = value

    arena._device.queue.put(work)
    arena.changed(rows)


def arena_of(kind: str, rng: np.random.Generator, rows: int) -> AnyArena:
    if kind == "shared":
        return SharedArena(SPECS, FIRST, late_device(rng, shared=True), capacity=8)
    return DeviceArena(SPECS, FIRST, at_once() if kind == "at once" else late_device(rng), rows, capacity=8)


@pytest.mark.parametrize("kind", ["at once", "late", "shared"])
@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 9), count=st.integers(1, 40))
def test_device_arena_after_any_calls_holds_what_the_plain_arena_holds(
    kind: str, seed: int, rows: int, count: int
) -> None:
    rng = np.random.default_rng(seed)
    plain, device = Arena(SPECS, FIRST, 8), arena_of(kind, rng, rows)
    plain.reset(np.arange(8))
    device.reset(np.arange(8))
    expected: list[tuple[Callable[[], Any], Any]] = []
    for _ in range(count):
        most = min(rows, plain.capacity)
        slots = rng.permutation(plain.capacity)[: rng.integers(1, most + 1)]
        call = rng.integers(8)
        if call == 0:
            expected.append((begin_gather(device, slots), plain.gather(slots)))
        elif call <= 2:
            values = states(rng, slots.size)
            plain.scatter(slots, values)
            scatter(device, slots, values)
        elif call == 3:
            expected.append((device.begin_read(slots).rows, plain.read(slots)))
        elif call == 4:
            for arena in (plain, device):
                arena.reset(slots)
        elif call == 5:
            others = rng.permutation(plain.capacity)[: slots.size]
            read = plain.read(others)
            for arena in (plain, device):
                arena.write(slots, read)
        elif call == 6:
            before = plain.capacity
            for arena in (plain, device):
                arena.grow(before + 2)
                arena.reset(np.arange(before, before + 2))
        elif expected:
            check(*expected.pop(int(rng.integers(len(expected)))))
    for found, theirs in expected:
        check(found, theirs)
    everyone = np.arange(plain.capacity)
    assert (device.read(everyone) == plain.read(everyone)).all()


def check(found: Callable[[], Any], expected: Any) -> None:
    mine = found()
    if isinstance(mine, list):
        assert all(a.tobytes() == b.tobytes() for a, b in zip(mine, expected, strict=True))
    else:
        assert (mine == expected).all()


@pytest.mark.parametrize("device", [at_once, late_device])
def test_streams_beyond_the_device_spill_and_come_back(device: Callable[[], Device]) -> None:
    arena, rng = device_arena(device=device()), np.random.default_rng(0)
    given = states(rng, 12)
    for start in (0, 4, 8):
        scatter(arena, np.arange(start, start + 4), [value[start : start + 4] for value in given])
    assert arena.saved == 8
    for start in (0, 4, 8):
        found = gather(arena, np.arange(start, start + 4))
        for value, expected in zip(found, given, strict=True):
            assert (value == expected[start : start + 4]).all()


def test_row_used_longest_ago_makes_room() -> None:
    arena = device_arena()
    for slot in (0, 1, 2, 3, 0):
        gather(arena, np.array([slot]))
    loaded = arena.loaded
    gather(arena, np.array([7]))  # in the place of 1
    gather(arena, np.array([0, 2, 3, 7]))
    assert arena.loaded == loaded + 1
    gather(arena, np.array([1]))
    assert arena.loaded == loaded + 2


def test_slots_of_a_call_do_not_make_room_for_each_other() -> None:
    arena, rng = device_arena(), np.random.default_rng(1)
    given = states(rng, 4)
    scatter(arena, np.arange(4), given)
    found = gather(arena, np.array([9, 0, 8, 1]))  # 0 and 1 were used as long ago as 2 and 3
    assert (found[0][1] == given[0][0]).all()
    assert (found[0][3] == given[0][1]).all()
    assert (found[0][0] == 0.5).all()


def test_read_copies_dirty_rows_only() -> None:
    arena, rng = device_arena(), np.random.default_rng(2)
    gather(arena, np.arange(4))
    arena.read(np.arange(4))
    assert arena.saved == 0
    scatter(arena, np.array([1, 3]), states(rng, 2))
    arena.read(np.arange(12))
    assert arena.saved == 2
    arena.read(np.arange(12))
    assert arena.saved == 2


def test_clean_row_makes_room_without_a_copy() -> None:
    arena = device_arena()
    gather(arena, np.arange(4))
    gather(arena, np.arange(4, 8))
    assert (arena.loaded, arena.saved) == (8, 0)


def test_call_for_more_streams_than_rows_is_refused() -> None:
    with pytest.raises(EngineError, match="5 streams does not fit a device with rows for 4"):
        device_arena().enter(np.arange(5))


@pytest.mark.parametrize("shared", [False, True])
def test_read_that_was_begun_gives_the_states_of_then_while_calls_go_on(shared: bool) -> None:
    rng, device = np.random.default_rng(3), late_device(shared=shared)
    arena: AnyArena = SharedArena(SPECS, FIRST, device, capacity=12) if shared else device_arena(12, device=device)
    generations, readings = [states(rng, 12) for _ in range(4)], []
    for values in generations:
        scatter(arena, np.arange(12), values)
        readings.append(arena.begin_read(np.arange(12)))
    assert device.queue.done == 0  # nobody has waited for anything  # type: ignore[attr-defined]
    for values, reading in reversed(list(zip(generations, readings, strict=True))):
        plain = Arena(SPECS, FIRST, 12)
        plain.scatter(np.arange(12), values)
        assert (reading.rows() == plain.read(np.arange(12))).all()
    for mine, newest in zip(gather(arena, np.arange(12)), generations[-1], strict=True):
        assert (mine == newest).all()


@pytest.mark.parametrize("change", ["reset", "write", "scatter"])
def test_copy_that_lands_late_does_not_undo_what_came_behind_it(change: str) -> None:
    rng = np.random.default_rng(4)
    arena, plain = device_arena(device=late_device()), Arena(SPECS, FIRST, 12)
    plain.reset(np.arange(12))
    slots, old, new = np.arange(4), states(rng, 4), states(rng, 4)
    scatter(arena, slots, old)
    reading = arena.begin_read(slots)
    plain.scatter(slots, old)
    before = plain.read(slots)
    if change == "reset":
        arena.reset(slots)
        plain.reset(slots)
    elif change == "write":
        plain.scatter(slots, new)
        arena.write(slots, plain.read(slots))
    else:
        plain.scatter(slots, new)
        scatter(arena, slots, new)
    gather(arena, np.arange(4, 8))  # in their place
    assert (reading.rows() == before).all()
    assert (arena.read(np.arange(12)) == plain.read(np.arange(12))).all()
    for mine, expected in zip(gather(arena, slots), plain.gather(slots), strict=True):
        assert (mine == expected).all()


def test_copies_under_way_are_bounded() -> None:
    arena, rng = device_arena(rows=1, capacity=40, device=late_device()), np.random.default_rng(5)
    for slot in range(40):
        scatter(arena, np.array([slot]), states(rng, 1))
    assert arena.saved == 39
    assert len(arena._under_way) <= MOST_COPIES


def test_read_stops_no_queue_but_its_own() -> None:
    """The device's own queue gathers the rows; what takes them to the host is in another one."""
    device = late_device()
    arena = device_arena(12, device=device)
    scatter(arena, np.arange(12), states(np.random.default_rng(6), 12))
    before = dict(device.queue.copied)  # type: ignore[attr-defined]
    reading = arena.begin_read(np.arange(12))
    scatter(arena, np.arange(12), states(np.random.default_rng(7), 12))
    put = device.queue.mark().behind  # type: ignore[attr-defined]
    reading.rows()
    assert device.queue.copied == before  # type: ignore[attr-defined]
    assert device.copies.copied == {"up": 0, "down": 1}  # type: ignore[attr-defined]
    assert device.queue.done < put  # type: ignore[attr-defined]  # the call behind has not been waited for
