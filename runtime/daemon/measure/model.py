"""The model alone: steps a second by batch, chunk and threads, without states being moved."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from edge_rnn.contract.bundle import Bundle
from edge_rnn.contract.stepgraph import first_states, open_step_graph
from runtime.daemon.measure.examples import example_inputs
from runtime.daemon.measure.timing import time_calls

BATCHES = (1, 4, 16, 64, 256, 512, 1024, 2048, 4096)
CHUNKS = (1, 4, 16, 64)
CELL_S = 0.15


@dataclass(frozen=True, slots=True)
class ModelCell:
    """Calls of ``chunk`` steps for ``batch`` streams each, ``threads`` at once on a thread of their own.

    ``wall_us_a_step`` and ``cpu_us_a_step`` are microseconds for one step of one stream.
    """

    batch: int
    chunk: int
    threads: int
    call_ms: float
    wall_us_a_step: float
    cpu_us_a_step: float

    @property
    def steps_per_s(self) -> float:
        """Steps a second, over all streams of all calls at once."""
        return 1e6 / self.wall_us_a_step


def shapes(*, has_time: bool, most_steps: int) -> list[tuple[int, int]]:
    """The (batch, chunk) pairs to measure: no call takes more than ``most_steps`` = batch x chunk steps."""
    chunks = CHUNKS if has_time else (1,)
    return [(batch, chunk) for batch in BATCHES for chunk in chunks if batch * chunk <= most_steps]


def model_alone(
    bundle: Bundle, wanted: Iterable[tuple[int, int]], *, threads: int = 1, seconds: float = CELL_S
) -> list[ModelCell]:
    """Measure calls of these (batch, chunk) shapes, ``threads`` at once, ``seconds`` for each. Raises `EngineError`."""
    step = open_step_graph(bundle)
    cells = []
    with ThreadPoolExecutor(threads) as pool:
        for batch, chunk in wanted:
            inputs = example_inputs(bundle, chunk, batch)
            _, states = step(inputs, first_states(bundle, batch))
            call = partial(step, inputs, states)
            timing = time_calls(call if threads == 1 else partial(_at_once, pool, call, threads), seconds)
            steps = threads * batch * chunk
            wall_us, cpu_us = 1e6 * timing.wall_s / steps, 1e6 * timing.cpu_s / steps
            cells.append(ModelCell(batch, chunk, threads, 1e3 * timing.wall_s, wall_us, cpu_us))
    return cells


def _at_once(pool: ThreadPoolExecutor, call: Callable[[], object], times: int) -> None:
    for done in [pool.submit(call) for _ in range(times)]:
        done.result()
