"""From figures to what limits and what to set, with the figures that say so. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from runtime.daemon.measure.model import ModelCell
from runtime.daemon.measure.stages import StageFigures
from runtime.daemon.measure.transport import TransportFigures

NEAR_BEST = 0.95
"""A smaller setting that is this near to the best is taken: it waits less."""

WORTH = 1.3
"""A second thread or worker must bring this much."""

MOST_CALL_MS = 20.0
"""A record may wait for a call of other streams so long at most."""

FEW_STREAMS = 4

MODEL, LOOP = "the model's thread", "the loop"
THREADS = {MODEL: ("decode", "streams", "model", "states", "encode"), LOOP: ("poll", "send", "commit")}
"""What runs on which of a daemon's threads under load; the client's own threads are beside them."""


@dataclass(frozen=True, slots=True)
class Advice:
    """One setting: what to give, and why, in figures."""

    setting: str
    value: int
    why: str


@dataclass(frozen=True, slots=True)
class Limit:
    """``stage`` costs most in the thread that takes longest, ``thread``: ``thread_us`` microseconds a record.

    ``total_us`` is that of all stages, ``alone_per_s`` what that thread allows, ``overlapped_per_s`` what all allow
    when they overlap on ``cores`` cores. A broker on the same machine takes of these too; it is not in here.
    """

    stage: str
    stage_us: float
    thread: str
    thread_us: float
    total_us: float
    alone_per_s: float
    overlapped_per_s: float
    cores: int


def stage_costs(stage: StageFigures, transport: TransportFigures) -> dict[str, float]:
    """Microseconds a record by stage, in the order of a record's way."""
    return {
        "poll": transport.poll_us,
        "decode": stage.decode_us,
        "streams": stage.streams_us,
        "model": stage.model_us - stage.moving_us,
        "states": stage.moving_us,
        "encode": stage.encode_us,
        "send": transport.send_us,
        "commit": transport.commit_us,
        "client's threads": transport.client_us,
    }


def find_limit(stage: StageFigures, transport: TransportFigures, cores: int) -> Limit:
    """The daemon's two threads overlap under load, the slower one limits; see `THREADS`."""
    costs = stage_costs(stage, transport)
    spent = {thread: sum(costs[part] for part in parts) for thread, parts in THREADS.items()}
    slowest = max(spent, key=spent.__getitem__)
    largest = max(THREADS[slowest], key=costs.__getitem__)
    total = sum(costs.values())
    alone = 1e6 / spent[slowest]
    return Limit(largest, costs[largest], slowest, spent[slowest], total, alone, min(alone, cores * 1e6 / total), cores)


def advise(
    cells: Sequence[ModelCell], threaded: Sequence[ModelCell], limit: Limit, cores: int, largest_batch: int
) -> list[Advice]:
    """``cells``: one call at a time; ``threaded``: several at once. What to set on this machine."""
    batch = advise_batch(cells, largest_batch)
    chunk = advise_chunk(cells)
    threads = advise_threads(cells, threaded, batch.value, limit)
    return [threads, chunk, batch, advise_workers(limit, cores, threads.value)]


def advise_batch(cells: Sequence[ModelCell], largest: int) -> Advice:
    """The smallest batch that is near the best, at one step a call; and what larger ones cost."""
    single = [cell for cell in cells if cell.chunk == 1 and cell.batch <= largest]
    best = max(single, key=lambda cell: cell.steps_per_s)
    near = next(cell for cell in single if cell.steps_per_s >= NEAR_BEST * best.steps_per_s)
    last = single[-1]
    ratio = last.steps_per_s / near.steps_per_s
    if last.batch == near.batch:
        beyond = "no larger one was measured"
    elif ratio < NEAR_BEST:
        beyond = f"{last.batch} rows are slower, {last.steps_per_s:,.0f} ({ratio:.2f} x)"
    else:
        beyond = f"{last.batch} rows bring no more, {last.steps_per_s:,.0f}, and take {last.call_ms:.1f} ms a call"
    return Advice(
        "batch",
        near.batch,
        f"{near.steps_per_s:,.0f} steps/s with {near.batch} rows a call, {near.call_ms:.2f} ms; {beyond}",
    )


def advise_chunk(cells: Sequence[ModelCell]) -> Advice:
    """The smallest chunk that is near the best for few streams, and whose call is short at that."""
    few = [cell for cell in cells if cell.batch == FEW_STREAMS] or [cell for cell in cells if cell.batch == 1]
    short = [cell for cell in few if cell.call_ms <= MOST_CALL_MS] or few[:1]
    best = max(short, key=lambda cell: cell.steps_per_s)
    near = next(cell for cell in short if cell.steps_per_s >= NEAR_BEST * best.steps_per_s)
    first = few[0]
    return Advice(
        "--max-chunk",
        near.chunk,
        f"{near.batch} streams in chunks of {near.chunk}: {near.steps_per_s:,.0f} steps/s, {near.call_ms:.2f} ms a call;"
        f" step by step {first.steps_per_s:,.0f}",
    )


def advise_threads(cells: Sequence[ModelCell], threaded: Sequence[ModelCell], batch: int, limit: Limit) -> Advice:
    """More than one only where the model limits and they bring what they cost."""
    one = next(cell for cell in cells if (cell.batch, cell.chunk) == (batch, 1))
    more = [cell for cell in threaded if (cell.batch, cell.chunk) == (batch, 1)]
    if not more:
        return Advice("--threads", 1, "this machine has one core")
    best = max(more, key=lambda cell: cell.steps_per_s)
    gain = best.steps_per_s / one.steps_per_s
    found = f"{best.threads} calls at once do {gain:.2f} x the steps of one, {batch} rows each"
    if limit.thread != MODEL:
        return Advice("--threads", 1, f"{found}, but {limit.thread} limits ({limit.stage})")
    if gain < WORTH:
        return Advice("--threads", 1, f"{found}, for {best.threads} cores' time")
    return Advice("--threads", best.threads, f"{found}, and {limit.thread} limits")


def advise_workers(limit: Limit, cores: int, threads: int) -> Advice:
    """As many as bring something: until the slowest stage times workers is what all cores can do."""
    whole = cores * 1e6 / limit.total_us
    for workers in range(1, cores + 1):
        rate = min(workers * limit.alone_per_s, whole)
        gain = min((workers + 1) * limit.alone_per_s, whole) / rate
        if gain < WORTH or workers * threads >= cores:
            why = (
                f"one does at most {limit.alone_per_s:,.0f} events/s ({limit.thread}), {cores} cores at most"
                f" {whole:,.0f}; one more would bring {gain:.2f} x"
            )
            return Advice("--workers", workers, why)
    return Advice("--workers", cores, f"each of {cores} cores brings its share")
