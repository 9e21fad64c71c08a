"""``python -m tests.benchmarks [--quick] [--only CASE ...] [--rounds N] [--out DIR]``: every ratio in one run.

One Kafka broker, all contestants in turns, a JSON report, a table and plots in ``--out``. The full form takes
about 25 minutes on 2 cores; ``--quick`` about one, asks less and needs no peers but the Python ones. Ends with
status 1 where a ratio misses what its form asks.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.benchmarks import jvm
from tests.benchmarks.cases.curve import curve
from tests.benchmarks.cases.latency import latency
from tests.benchmarks.cases.million import million
from tests.benchmarks.cases.starting import starting
from tests.benchmarks.cases.throughput import (
    few_streams,
    json_codec,
    kafka_python,
    many_streams,
    other_systems,
    skewed_streams,
    small_model,
)
from tests.benchmarks.cases.transactions import transactions
from tests.benchmarks.cases.workers import workers
from tests.benchmarks.report import table
from tests.benchmarks.site import Site
from tests.kafka.broker import RunningKafka

CASES: dict[str, Callable[[Site], None]] = {
    "starting": starting,
    "many": many_streams,
    "systems": other_systems,
    "few": few_streams,
    "zipf": skewed_streams,
    "small": small_model,
    "kafka-python": kafka_python,
    "json": json_codec,
    "latency": latency,
    "transactions": transactions,
    "workers": workers,
    "curve": curve,
    "million": million,
}
QUICK = ("few", "many", "json")
"""The cases of the quick form: about a minute. The first also warms the broker up."""

REPEATS = 3
"""How often the quick form tries a case again that misses: a real regression misses every time."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a regression check on ratios, under generous thresholds")
    parser.add_argument("--only", nargs="*", choices=list(CASES), help="these cases alone")
    parser.add_argument("--rounds", type=int, help="how often each contestant runs [3; quick: 1]")
    parser.add_argument("--out", type=Path, default=Path("bench-out"), help="where the report goes [bench-out]")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    names = given.only or (QUICK if given.quick else list(CASES))
    began, took = time.time(), {}
    if "systems" in names:
        jvm.build()
    with tempfile.TemporaryDirectory(prefix="edge-rnn-bench-") as folder, RunningKafka() as kafka:
        site = Site(kafka, Path(folder), given.quick, given.rounds or (1 if given.quick else 3))
        if not given.quick:
            site.warm_up()
        for name in names:
            case_began = time.time()
            print(f"{name}: {(CASES[name].__doc__ or '').splitlines()[0]}", flush=True)
            before = len(site.ratios)
            site.attempt(name, partial(CASES[name], site))
            for _ in range(REPEATS if given.quick else 0):
                if all(ratio.holds(quick=True) for ratio in site.ratios[before:]):
                    break
                print(f"{name}: missed; once more, as the machine may have had something else to do", flush=True)
                del site.ratios[before:]
                site.attempt(name, partial(CASES[name], site))
            took[name] = round(time.time() - case_began, 1)
    report = {
        "form": "quick" if given.quick else "full",
        "began": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(began)),
        "seconds": round(time.time() - began, 1),
        "case_seconds": took,
        "machine": machine(),
        **site.report(),
    }
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    text = table(report)
    (given.out / "report.md").write_text(text + "\n")
    print(text)
    if not given.quick:
        from tests.benchmarks.plots import draw_all

        draw_all(report, given.out)
    missed = [ratio.name for ratio in site.ratios if not ratio.holds(given.quick)]
    for name in missed:
        print(f"missed: {name}", file=sys.stderr)
    return 1 if missed or site.skipped.keys() & CASES.keys() else 0


def machine() -> dict[str, object]:
    """What it ran on."""
    import confluent_kafka
    import onnxruntime

    lines = Path("/proc/cpuinfo").read_text().splitlines()
    processor = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
    return {
        "cores": os.cpu_count(),
        "processor": processor,
        "python": platform.python_version(),
        "onnxruntime": onnxruntime.__version__,
        "confluent_kafka": confluent_kafka.version()[0] if callable(confluent_kafka.version) else "",
    }


if __name__ == "__main__":
    sys.exit(main())
