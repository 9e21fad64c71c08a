"""Where the daemon's time goes: py-spy over a run of the throughput case, summed by part of a record's way.

``python -m tests.benchmarks.profile [--streams N] [--events N] [--client NAME] [--out DIR]``. Samples of idle threads do
not count. Each sample belongs to the innermost function of ours that is in `PARTS`; the raw stacks, for a flame graph,
are written beside the table. py-spy is in ``[dev]``; sampling takes a few percent of the rate itself.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from tests.benchmarks.measure import measure
from tests.benchmarks.site import MODELS
from tests.benchmarks.workload import Workload, fill
from tests.kafka.broker import RunningKafka
from tests.models_for_tests import make_bundle

RATE_HZ = 200
PARTS = {
    "codecs/": "decode and encode",
    "core/scheduler.py": "plan",
    "core/streams.py": "streams",
    "core/dirty.py": "streams",
    "core/arena.py": "states",
    "contract/stepgraph.py": "model",
    "engines/": "states",
    "core/processor.py": "processor",
    "checkpoint/": "snapshots and commit",
    "observe/": "metrics",
    "transports/": "transport",
    "daemon/": "daemon's loop",
}
"""Part of a file's path to the part of a record's way that it belongs to; the first that fits."""


def part_of(stack: str) -> str:
    """The part that a collapsed stack (outermost first, frames between semicolons) belongs to."""
    for frame in reversed(stack.split(";")):
        for place, part in PARTS.items():
            if f"runtime/{place}" in frame or f"edge_rnn/{place}" in frame:
                return part
    return "other"


def sum_parts(lines: Iterable[str]) -> Counter[str]:
    """Samples by part, of py-spy's raw lines: a collapsed stack, a space, how often it was seen."""
    found: Counter[str] = Counter()
    for line in lines:
        stack, _, count = line.rpartition(" ")
        if stack:
            found[part_of(stack)] += int(count)
    return found


def main() -> None:
    """Run the daemon over one topic with py-spy beside it and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--streams", type=int, default=4000)
    parser.add_argument("--events", type=int, default=600_000)
    parser.add_argument("--model", choices=list(MODELS), default="lstm128")
    parser.add_argument("--client", choices=["confluent", "kafka-python"], default="confluent")
    parser.add_argument("--out", type=Path, default=Path("bench-out"))
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    raw = given.out / "profile.txt"
    spy = [str(Path(sys.executable).with_name("py-spy")), "record", "--format", "raw", "--full-filenames", "--threads"]
    with tempfile.TemporaryDirectory(prefix="edge-rnn-bench-") as folder, RunningKafka() as kafka:
        bundle = make_bundle(Path(folder) / given.model, **MODELS[given.model])  # type: ignore[arg-type]
        features = bundle.manifest.width
        workload = Workload(given.streams, given.events, features=features)
        fill(kafka.bootstrap, workload)
        spies: list[subprocess.Popen[bytes]] = []

        def watch(pid: int) -> None:
            command = [*spy, "--rate", str(RATE_HZ), "--pid", str(pid), "--output", str(raw)]
            spies.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))

        found = measure(kafka, f"ours {given.client}", bundle.path, workload, on_began=watch)
        for process in spies:
            process.wait(60)
    parts = sum_parts(raw.read_text().splitlines())
    total = sum(parts.values())
    seconds = total / RATE_HZ
    print(f"{found.rate:,.0f} events/s while it was watched; {seconds:.1f} s of samples in all threads")
    for part, count in parts.most_common():
        print(f"  {part:22}{count / total:7.1%}{1e6 * count / RATE_HZ / found.events:8.2f} us an event")
    (given.out / "profile.json").write_text(
        json.dumps({"events_per_s": found.rate, "us": {k: 1e6 * v / RATE_HZ / found.events for k, v in parts.items()}})
        + "\n"
    )


if __name__ == "__main__":
    main()
