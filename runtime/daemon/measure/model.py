"""The model alone: steps a second by batch, chunk and threads, without states being moved."""

from __future__ import annotations

from collections.abc import Iterable
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
    """A call of ``chunk`` steps for ``batch`` streams on ``threads`` threads.

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
        """Steps a second, over all streams of the call."""
        return 1e6 / self.wall_us_a_step


def shapes(*, has_time: bool, most_steps: int) -> list[tuple[int, int]]:
    """The (batch, chunk) pairs to measure: no call takes more than ``most_steps`` = batch x chunk steps."""
    chunks = CHUNKS if has_time else (1,)
    return [(batch, chunk) for batch in BATCHES for chunk in chunks if batch * chunk <= most_steps]


def model_alone(
    bundle: Bundle, wanted: Iterable[tuple[int, int]], *, threads: int, seconds: float = CELL_S
) -> list[ModelCell]:
    """Measure calls of these (batch, chunk) shapes, ``seconds`` for each. Raises `EngineError`."""
    step = open_step_graph(bundle, threads=threads)
    cells = []
    for batch, chunk in wanted:
        inputs = example_inputs(bundle, chunk, batch)
        _, states = step(inputs, first_states(bundle, batch))
        timing = time_calls(partial(step, inputs, states), seconds)
        steps = batch * chunk
        cells.append(
            ModelCell(
                batch, chunk, threads, 1e3 * timing.wall_s, 1e6 * timing.wall_s / steps, 1e6 * timing.cpu_s / steps
            )
        )
    return cells
