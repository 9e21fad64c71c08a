"""One contestant over one topic: how fast its outputs became visible to a committed reader, and what it cost.

What is committed counts: the end is the last moment at which the output topic's stable end moved, seen from
outside; afterwards every output is read back and counted, and those of some streams are compared with the
model's own.
"""

from __future__ import annotations

import statistics
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.benchmarks.broker_admin import Admin
from tests.benchmarks.check import check_outputs
from tests.benchmarks.contestants import Running, start
from tests.benchmarks.processes import cpu_seconds
from tests.benchmarks.workload import Workload, fill
from tests.kafka.broker import RunningKafka

LOOK_S = 0.04
STILL_S = 1.0
"""Outputs that have been whole and unmoved for so long are done."""
DEADLINE_S = 240.0


@dataclass(frozen=True, slots=True)
class Measured:
    """``client_us`` and ``broker_us`` are processor time an event, in microseconds."""

    name: str
    events: int
    seconds: float
    client_us: float
    broker_us: float

    @property
    def rate(self) -> float:
        """Events a second."""
        return self.events / self.seconds


@dataclass(frozen=True, slots=True)
class _Look:
    at: float
    end: int
    client_s: float
    broker_s: float


def measure(
    kafka: RunningKafka,
    name: str,
    bundle: Path,
    workload: Workload,
    *,
    model: bool = True,
    on_began: Callable[[int], None] = lambda _pid: None,
) -> Measured:
    """Run one contestant over the workload's topic, which must be filled. Raises ``AssertionError`` on wrong outputs.

    ``on_began`` is told its process id when it has begun.
    """
    admin, target = Admin(kafka.bootstrap), f"out-{uuid.uuid4().hex[:12]}"
    admin.create(target)
    n = workload.events
    running = start(name, bundle, kafka.bootstrap, workload.topic, target, n, workload.codec)
    try:
        looks = _watch(kafka, admin, running, target, n, on_began)
        began = running.began()
        assert began is not None
    finally:
        running.stop()
    check_outputs(kafka.bootstrap, target, bundle, workload, model=model, json_out=name.startswith("ours"))
    admin.delete(target)
    last = next(i for i in range(len(looks)) if looks[i].end == looks[-1].end)
    first = next(i for i in range(len(looks)) if looks[i].at >= began)
    seconds = looks[last].at - began
    return Measured(
        name,
        n,
        seconds,
        1e6 * (looks[last].client_s - looks[first].client_s) / n,
        1e6 * (looks[last].broker_s - looks[first].broker_s) / n,
    )


def _watch(
    kafka: RunningKafka, admin: Admin, running: Running, target: str, n: int, on_began: Callable[[int], None]
) -> list[_Look]:
    looks: list[_Look] = []
    told = False
    deadline = time.time() + DEADLINE_S
    broker = kafka.pid
    assert broker is not None
    while True:
        end = admin.stable_end(target)
        looks.append(_Look(time.time(), end, cpu_seconds(running.pid), cpu_seconds(broker)))
        still = looks[-1].at - next(look.at for look in looks if look.end == end)
        if end >= n and still > STILL_S:
            return looks
        if not told and running.began() is not None:
            told = True
            on_began(running.pid)
        running.check()
        assert time.time() < deadline, f"{end} of {n} outputs after {DEADLINE_S} s; its log:\n{running.log()}"
        time.sleep(LOOK_S)


def compare(
    kafka: RunningKafka, names: Sequence[str], bundle: Path, workload: Workload, rounds: int
) -> dict[str, list[Measured]]:
    """All contestants one after the other, again and again: A B C A B C."""
    fill(kafka.bootstrap, workload)
    found: dict[str, list[Measured]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            measured = measure(kafka, name, bundle, workload, model=not name.startswith("pass"))
            found[name].append(measured)
            print(
                f"  {workload.topic}, {name}: {measured.rate:,.0f} events/s, processor time an event:"
                f" {measured.client_us:.1f} + {measured.broker_us:.1f} us",
                flush=True,
            )
    return found


def median_rate(runs: Sequence[Measured]) -> float:
    """Events a second."""
    return statistics.median(run.rate for run in runs)


def as_json(runs: dict[str, list[Measured]]) -> dict[str, object]:
    """Medians and all runs."""
    return {
        name: {
            "events_per_s": round(median_rate(some), 1),
            "client_us": round(statistics.median(run.client_us for run in some), 2),
            "broker_us": round(statistics.median(run.broker_us for run in some), 2),
            "runs": [{key: value for key, value in asdict(run).items() if key != "name"} for run in some],
        }
        for name, some in runs.items()
    }
