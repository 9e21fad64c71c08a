"""From event to committed output at 1,000 events/s, beside the barest loop that is exactly-once."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
import uuid
from typing import Any

from tests.benchmarks.broker_admin import Admin
from tests.benchmarks.contestants import start
from tests.benchmarks.site import Site

RATE, STREAMS = 1000, 1000
NAMES = ("bare-eos", "ours confluent")
READY_S = 60.0
ROUNDS = 5
"""The bare loop's own median goes from 12 to 15 ms."""


def latency(site: Site) -> None:
    """Both in turns; p50 and p99 of each round, then the median over rounds."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in NAMES}
    for _ in range(2 if site.quick else ROUNDS):
        for name in NAMES:
            found[name].append(_round(site, name, 4.0 if site.quick else 10.0))
            milliseconds = found[name][-1]["ms"]
            print(f"  latency, {name}: p50 {milliseconds['50']} ms, p99 {milliseconds['99']} ms", flush=True)
    site.figures["latency"] = found
    for percentile, target, quick_target in (("50", 1.1, 3.0), ("99", 1.2, 3.0)):
        ours, bare = (statistics.median(run["ms"][percentile] for run in found[name]) for name in reversed(NAMES))
        site.reached(
            f"latency p{percentile}: of the bare transactional loop",
            ours / bare,
            target,
            better="less",
            quick_target=quick_target,
            note=f"{ours:.1f} ms beside {bare:.1f} ms",
        )


def _round(site: Site, name: str, seconds: float) -> dict[str, Any]:
    broker, tag = site.kafka.bootstrap, uuid.uuid4().hex[:12]
    source, target = f"in-{tag}", f"out-{tag}"
    admin = Admin(broker)
    admin.create(source)
    admin.create(target)
    running = start(name, site.bundle("lstm128"), broker, source, target, 0, "f32")
    try:
        deadline = time.time() + READY_S
        while running.began() is None:
            running.check()
            assert time.time() < deadline, f"{name} is not ready after {READY_S} s"
            time.sleep(0.05)
        done = subprocess.run(
            [
                *(sys.executable, "-m", "tests.benchmarks.probe", broker, source, target),
                *(str(RATE), str(seconds), str(STREAMS), "16"),
            ],
            capture_output=True,
            text=True,
            check=False,
            env=os.environ,
        )
        if done.returncode:
            raise RuntimeError(f"the probe failed: {done.stderr[-1000:]}")
        return dict(json.loads(done.stdout))
    finally:
        getattr(running, "end", running.stop)()
        admin.delete(source, target)
