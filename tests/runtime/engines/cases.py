"""What every engine has to do, whatever it runs on; compared with the step graph on the CPU, stream by stream.

A case takes what opens an engine, the bundle, and how far results may be from the CPU's.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_rnn.contract.bundle import Bundle
from edge_rnn.contract.stepgraph import first_states, open_step_graph
from runtime.engines.protocol import Begun, Engine, OverlappingEngine
from tests.models_for_tests import make_bundle

Opener = Callable[[Bundle], Engine]
Case = Callable[[Opener, Bundle, float], None]
STREAMS = 40


def opened(make: Opener, bundle: Bundle) -> Engine:
    engine = make(bundle)
    engine.grow(STREAMS)
    engine.reset(np.arange(STREAMS))
    return engine


def overlapping(make: Opener, bundle: Bundle) -> OverlappingEngine:
    engine = opened(make, bundle)
    assert isinstance(engine, OverlappingEngine)
    return engine


def drawn(seed: int, steps: int, streams: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((steps, streams, 3)).astype(np.float32)


def close(found: np.ndarray, expected: np.ndarray, tolerance: float) -> None:
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= tolerance * max(1.0, float(np.abs(expected).max()))


def states_of(engine: Engine, slots: np.ndarray) -> np.ndarray:
    return engine.read(slots).view(np.float32)


def outputs_and_states_are_those_of_the_step_graph(make: Opener, bundle: Bundle, tolerance: float) -> None:
    engine, graph, rng = opened(make, bundle), open_step_graph(bundle), np.random.default_rng(0)
    states = first_states(bundle, STREAMS)
    for number in range(30):
        slots = rng.permutation(STREAMS)[: rng.integers(1, STREAMS)]
        x = drawn(number, 1 << int(rng.integers(5)), slots.size)
        (found, good), (expected, new) = engine.run(slots, [x]), graph([x], [value[slots] for value in states])
        for held, value in zip(states, new, strict=True):
            held[slots] = value
        assert good.all()
        for mine, theirs in zip(found, expected, strict=True):
            close(mine, theirs, tolerance)
    rows = np.concatenate([value.reshape(STREAMS, -1) for value in states], axis=1)
    close(states_of(engine, np.arange(STREAMS)), rows, tolerance)


def steps_in_one_call_are_steps_in_several(make: Opener, bundle: Bundle, tolerance: float) -> None:
    whole, pieces = opened(make, bundle), opened(make, bundle)
    slots, x = np.arange(5), drawn(1, 16, 5)
    together = whole.run(slots, [x])[0][0]
    apart = np.concatenate([pieces.run(slots, [x[t : t + 1]])[0][0] for t in range(16)])
    close(together, apart, tolerance)
    close(states_of(whole, slots), states_of(pieces, slots), tolerance)


def streams_do_not_know_of_each_other(make: Opener, bundle: Bundle, tolerance: float) -> None:
    engine, alone = opened(make, bundle), opened(make, bundle)
    x = drawn(2, 4, STREAMS)
    found = engine.run(np.arange(STREAMS), [1000 * x])[0][0]
    for slot in (0, 7, STREAMS - 1):
        expected = alone.run(np.array([slot]), [1000 * x[:, slot : slot + 1]])[0][0]
        close(found[:, slot : slot + 1], expected, tolerance)


def order_of_slots_does_not_matter(make: Opener, bundle: Bundle, tolerance: float) -> None:
    engine, other = opened(make, bundle), opened(make, bundle)
    x, order = drawn(3, 2, STREAMS), np.random.default_rng(3).permutation(STREAMS)
    found = engine.run(np.arange(STREAMS), [x])[0][0]
    close(other.run(order, [x[:, order]])[0][0], found[:, order], tolerance)


def reset_begins_anew_and_leaves_the_others(make: Opener, bundle: Bundle, tolerance: float) -> None:
    engine = opened(make, bundle)
    fresh = engine.read(np.arange(6))
    engine.run(np.arange(6), [drawn(4, 4, 6)])
    before = engine.read(np.arange(6))
    engine.reset(np.array([1, 4]))
    after = engine.read(np.arange(6))
    assert (after[[1, 4]] == fresh[[1, 4]]).all()
    assert (after[[0, 2, 3, 5]] == before[[0, 2, 3, 5]]).all()


def states_written_are_states_read_and_go_on(make: Opener, bundle: Bundle, tolerance: float) -> None:
    engine, other = opened(make, bundle), opened(make, bundle)
    slots, elsewhere, x = np.arange(4), np.array([9, 3, 30, 11]), drawn(5, 3, 4)
    engine.run(slots, [x])
    rows = engine.read(slots)
    other.write(elsewhere, rows)
    assert (other.read(elsewhere) == rows).all()
    close(other.run(elsewhere, [x])[0][0], engine.run(slots, [x])[0][0], tolerance)


def growing_keeps_states(make: Opener, bundle: Bundle, tolerance: float) -> None:
    engine = opened(make, bundle)
    engine.run(np.arange(STREAMS), [drawn(6, 1, STREAMS)])
    before = engine.read(np.arange(STREAMS))
    engine.grow(5000)
    engine.reset(np.array([4999]))
    assert (engine.read(np.arange(STREAMS)) == before).all()
    assert engine.run(np.array([4999]), [drawn(6, 1, 1)])[1].all()


def states_stay_finite_beside_an_input_that_is_not(make: Opener, bundle: Bundle, tolerance: float) -> None:
    engine, other = opened(make, bundle), opened(make, bundle)
    slots, x = np.arange(5), drawn(7, 4, 5)
    before = engine.read(slots)
    spoilt = x.copy()
    spoilt[1, 2, 0] = np.nan
    found, good = engine.run(slots, [spoilt])
    expected, _ = other.run(slots, [x])
    rest = np.array([0, 1, 3, 4])
    assert good[rest].all()
    close(found[0][:, rest], expected[0][:, rest], tolerance)
    close(states_of(engine, rest), states_of(other, rest), tolerance)
    assert np.isfinite(states_of(engine, slots)).all()
    assert good[2] or (engine.read(slots)[2] == before[2]).all()


def threads_may_each_step_streams_of_their_own(make: Opener, bundle: Bundle, tolerance: float) -> None:
    engine, other = opened(make, bundle), opened(make, bundle)
    x, groups = drawn(8, 2, STREAMS), np.arange(STREAMS).reshape(4, -1)
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            list(pool.map(lambda slots: engine.run(slots, [x[:, slots]]), groups))
    for _ in range(5):
        other.run(np.arange(STREAMS), [x])
    close(states_of(engine, np.arange(STREAMS)), states_of(other, np.arange(STREAMS)), tolerance)


def engine_says_that_it_works_and_steps_nothing(make: Opener, bundle: Bundle, tolerance: float) -> None:
    engine = opened(make, bundle)
    before = engine.read(np.arange(STREAMS))
    assert engine.works()
    assert (engine.read(np.arange(STREAMS)) == before).all()


def calls_begun_behind_each_other_are_calls_made_in_turn(make: Opener, bundle: Bundle, tolerance: float) -> None:
    engine, other, rng = overlapping(make, bundle), opened(make, bundle), np.random.default_rng(9)
    under_way: deque[tuple[Begun, np.ndarray]] = deque()
    depths = []

    def take() -> None:
        begun, expected = under_way.popleft()
        (found, good) = begun.result()
        assert good.all()
        close(found[0], expected, tolerance)

    for number in range(25):
        slots = rng.permutation(STREAMS)[: rng.integers(1, STREAMS)]
        x = drawn(100 + number, 1 << int(rng.integers(3)), slots.size)
        given = x.copy()
        while (begun := engine.begin(slots, [given])) is None:
            take()
        given[:] = np.nan  # inputs may be used again at once
        under_way.append((begun, other.run(slots, [x])[0][0]))
        depths.append(len(under_way))
    while under_way:
        take()
    assert max(depths) <= 2
    close(states_of(engine, np.arange(STREAMS)), states_of(other, np.arange(STREAMS)), tolerance)


def stream_that_is_bad_is_left_alone_by_calls_behind(make: Opener, bundle: Bundle, tolerance: float) -> None:
    engine, other = overlapping(make, bundle), opened(make, bundle)
    slots, x, rest = np.arange(5), drawn(10, 2, 5), np.array([0, 1, 3, 4])
    spoilt = x.copy()
    spoilt[0, 2, 0] = np.nan
    before = engine.read(slots)
    first, second = engine.begin(slots, [spoilt]), engine.begin(slots, [x])
    assert first is not None
    assert second is not None
    _, good = first.result()
    found, behind = second.result()
    for _ in range(2):
        expected, _ = other.run(slots, [x])
    close(found[0][:, rest], expected[0][:, rest], tolerance)
    assert good[rest].all()
    assert behind[rest].all()
    if not good[2]:
        assert not behind[2]
        assert (engine.read(slots)[2] == before[2]).all()
        assert engine.run(slots, [x])[1].all()  # and goes on, once all has been looked at


def reading_that_is_begun_is_of_then(make: Opener, bundle: Bundle, tolerance: float) -> None:
    engine, other, everyone = overlapping(make, bundle), opened(make, bundle), np.arange(STREAMS)
    readings = []
    for number in range(3):
        x = drawn(20 + number, 2, STREAMS)
        begun = engine.begin(everyone, [x])
        assert begun is not None
        readings.append((engine.begin_read(everyone), other.run(everyone, [x]), other.read(everyone)))
        begun.result()
    for rows, _, expected in reversed(readings):
        close(rows().view(np.float32), expected.view(np.float32), tolerance)


CASES: tuple[Case, ...] = (
    outputs_and_states_are_those_of_the_step_graph,
    steps_in_one_call_are_steps_in_several,
    streams_do_not_know_of_each_other,
    order_of_slots_does_not_matter,
    reset_begins_anew_and_leaves_the_others,
    states_written_are_states_read_and_go_on,
    growing_keeps_states,
    states_stay_finite_beside_an_input_that_is_not,
    threads_may_each_step_streams_of_their_own,
    engine_says_that_it_works_and_steps_nothing,
)
OVERLAPPING: tuple[Case, ...] = (
    calls_begun_behind_each_other_are_calls_made_in_turn,
    stream_that_is_bad_is_left_alone_by_calls_behind,
    reading_that_is_begun_is_of_then,
)
"""For engines that begin calls; all but the CPU's."""
CELLS = ("lstm", "gru", "jordan")


def all_of(engines: Iterable[str]) -> list[Any]:
    """Each engine's name with each case and cell, as parameters of a test; the suite's summary counts by engine."""
    return [
        pytest.param(engine, case, cell, id=f"{engine}/{case.__name__}/{cell}")
        for engine in engines
        for case in (CASES if engine == "cpu" else CASES + OVERLAPPING)
        for cell in CELLS
    ]


@lru_cache
def bundle_of(cell: str, folder: Path) -> Bundle:
    """A bundle of this cell, made once."""
    return make_bundle(folder / cell, cell, layers=2)
