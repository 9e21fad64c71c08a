"""How long a piece of work takes, by doing it again and again."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

LEAST_CALLS = 3


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of one call: the lower quartile on the clock, as other work on the machine only ever adds to it,
    and the mean of processor time over all threads.
    """

    wall_s: float
    cpu_s: float


def time_calls(work: Callable[[], object], seconds: float) -> Timing:
    """Call ``work`` once to warm up, then for ``seconds``, but at least `LEAST_CALLS` times."""
    work()
    walls: list[float] = []
    cpu_began, began = time.process_time(), time.perf_counter()
    while len(walls) < LEAST_CALLS or time.perf_counter() - began < seconds:
        call_began = time.perf_counter()
        work()
        walls.append(time.perf_counter() - call_began)
    return Timing(sorted(walls)[len(walls) // 4], (time.process_time() - cpu_began) / len(walls))
