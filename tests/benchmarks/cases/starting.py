"""From the start of the process until ready, as a member that comes back, and the memory it then takes."""

from __future__ import annotations

import statistics
from contextlib import closing

from tests.benchmarks.processes import resident_bytes
from tests.benchmarks.site import Site
from tests.benchmarks.standing import StandingDaemon

STARTS = 5


def starting(site: Site) -> None:
    """With either client; nothing is restored."""
    for client in ("confluent",) if site.quick else ("confluent", "kafka-python"):
        arguments = ["--client", client]
        with closing(StandingDaemon(site.kafka, site.bundle("lstm128"), site.folder, arguments, 16)) as standing:
            ready_s, resident = [], []
            for _ in range(3 if site.quick else STARTS):
                ready_s.append(standing.restart(kill=False)["ready_s"])
                resident.append(resident_bytes(standing.daemon.pid) / 1e6)
        site.figures[f"start, {client}"] = {"ready_s": ready_s, "resident_mb": [round(mb, 1) for mb in resident]}
        print(f"  start, {client}: ready after {ready_s} s, {resident} MB", flush=True)
        site.reached(
            f"start to ready, {client}", statistics.median(ready_s), 1.0, better="less", unit="s", quick_target=3.0
        )
        site.reached(
            f"base resident memory, {client}",
            statistics.median(resident),
            120.0,
            better="less",
            unit="MB",
            quick_target=160.0,
        )
