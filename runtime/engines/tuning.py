"""How large a model call is best on this machine, and how many at once: measured at start, in a bounded time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from edge_rnn.contract.signature import Manifest
from edge_rnn.contract.stepgraph import Step
from runtime.core.scheduler import LEAST_STREAMS, Limits
from runtime.engines.cores import available_cores

SIZES = (128, 256, 512, 1024, 2048)
"""Streams a call that are tried."""

BUDGET_S = 0.06
"""Time that the trial may take; a model that is slower is tried on fewer sizes."""

CALL_S = 3e-4
"""About what a call costs beside the graph: gathering and scattering states, Python between, and waits for its lock."""

SPILT_S = 0.9e-9
"""What a byte of a call's states costs more where they do not fit the cache beside a core: they are read from memory or
a slower cache to be gathered, and again to be put back. Measured among a million streams (docs/performance.md)."""

CACHE = Path("/sys/devices/system/cpu/cpu0/cache/index2/size")
CACHE_BYTES = 1 << 20
"""That cache, and its size where the system does not tell."""

NEARLY = 0.95
"""A smaller call is taken where it does so much of the best one's rate: it leaves more of the cache to the rest."""

TRIES = 4
MOST_TRIES = 40
TRYING_S = 0.06
"""How often a further thread is tried at least, and how often and how long until it pays. Threads may share a core for
the first milliseconds, until the kernel spreads them, and whatever else runs then takes a core for some more."""

WORTH = 1.25
"""A further thread has to make all so much faster."""


@dataclass(frozen=True, slots=True)
class Tuning:
    """``streams``: most streams a call. ``threads``: calls at once. ``rates``: rows a second by streams a call."""

    streams: int = 1024
    threads: int = 1
    rates: dict[int, float] = field(default_factory=dict)

    def bound(self, limits: Limits) -> Limits:
        """The same, with calls no larger than what is best here: neither of one step, nor of chunks along time."""
        steps = max(LEAST_STREAMS * limits.chunk, min(limits.steps, self.streams))
        return Limits(limits.chunk, steps, min(limits.streams, self.streams))


def measure(
    step: Step,
    manifest: Manifest,
    first: Sequence[np.ndarray],
    *,
    threads: int | None = None,
    budget_s: float = BUDGET_S,
    clock: Callable[[], float] = time.perf_counter,
) -> Tuning:
    """Try the model on zeros from its first states, a step a call. ``threads`` is taken as given, if it is given."""
    deadline = clock() + budget_s
    rates: dict[int, float] = {}
    cache = _cache_bytes()
    for streams in SIZES:
        call = _call(step, manifest, first, streams)
        call()  # the first of its shape makes room
        fastest = min(_timed(call, clock) for _ in range(2))
        spilt = max(0, streams * manifest.state_bytes - cache)
        rates[streams] = streams / (fastest + CALL_S + SPILT_S * spilt)
        if clock() + 6 * fastest > deadline:
            break
    enough = NEARLY * max(rates.values())
    best = next(streams for streams, rate in rates.items() if rate >= enough)
    if threads is None:
        threads = _threads(_call(step, manifest, first, best), available_cores(), clock)
    return Tuning(best, threads, rates)


def _cache_bytes() -> int:
    """Of the second cache of a core, by what Linux knows."""
    try:
        return int(CACHE.read_text().strip().removesuffix("K")) << 10
    except (OSError, ValueError):
        return CACHE_BYTES


def _threads(call: Callable[[], None], most: int, clock: Callable[[], float]) -> int:
    """How many threads pay, up to ``most``."""
    found, rate = 1, 1 / min(_timed(call, clock) for _ in range(2))
    for threads in range(2, most + 1):
        asked = rate * (1 + (WORTH - 1) / found)
        with ThreadPoolExecutor(threads - 1) as pool:
            together = _tried(partial(_at_once, pool, call, threads - 1), threads / asked, clock)
        if threads / together < asked:
            break
        found, rate = threads, threads / together
    return found


def _tried(call: Callable[[], None], enough_s: float, clock: Callable[[], float]) -> float:
    """The shortest time of a call, of so many that one is within ``enough_s``, or that it is known that none will be."""
    deadline, shortest = clock() + TRYING_S, _timed(call, clock)
    for tries in range(1, MOST_TRIES):
        if tries >= TRIES and (shortest <= enough_s or clock() >= deadline):
            break
        shortest = min(shortest, _timed(call, clock))
    return shortest


def _at_once(pool: ThreadPoolExecutor, call: Callable[[], None], others: int) -> None:
    """The caller takes part, as it does under load."""
    waited = [pool.submit(call) for _ in range(others)]
    call()
    for each in waited:
        each.result()


def _call(step: Step, manifest: Manifest, first: Sequence[np.ndarray], streams: int) -> Callable[[], None]:
    inputs = [np.zeros((1, streams, *spec.row_shape), spec.dtype) for spec in manifest.inputs]
    states = [
        np.repeat(np.asarray(value, spec.dtype)[None], streams, axis=0)
        for spec, value in zip(manifest.states, first, strict=True)
    ]

    def call() -> None:
        step(inputs, states)

    return call


def _timed(call: Callable[[], object], clock: Callable[[], float]) -> float:
    began = clock()
    call()
    return max(clock() - began, 1e-9)
