"""Throughput on Apache Kafka: ours beside the peers, one after the other, in one run and on one broker.

``python -m tests.benchmarks.throughput [--events N] [--streams N ...] [--rounds N] [--json FILE]``

Model: 2-layer LSTM of 128, 16 features, Dense(1), random weights. Ours is exactly-once with durable
state; only ``batched-eos`` among the peers commits its outputs exactly once, none keeps its state.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from runtime.core.batch import Outgoing
from runtime.transports.connect import open_broker
from tests.benchmarks.ours import run_ours
from tests.benchmarks.peers import PEERS
from tests.kafka.broker import RunningKafka
from tests.models_for_tests import make_bundle

PARTITIONS, FEATURES = 4, 16
OURS = {
    "edge-rnn confluent": ("--client", "confluent"),
    "edge-rnn confluent, 1 s commits": ("--client", "confluent", "--commit-interval", "1s"),
    "edge-rnn confluent, at least once": ("--client", "confluent", "--delivery", "at-least-once"),
    "edge-rnn kafka-python": ("--client", "kafka-python"),
}
SLOW = {"one": 5, "edge-rnn kafka-python": 4}
"""These take this many times fewer events, or they would take minutes."""


def fill(broker: str, topic: str, events: int, streams: int) -> None:
    """Events of 16 float32, streams in turn."""
    store = open_broker(broker, "confluent")
    store.create_topic(topic, PARTITIONS)
    values = [row.tobytes() for row in np.random.default_rng(1).standard_normal((4096, FEATURES)).astype(np.float32)]
    keys = [b"s%06d" % stream for stream in range(streams)]
    for begin in range(0, events, 50000):
        numbers = range(begin, min(begin + 50000, events))
        store.write(
            topic,
            Outgoing(
                partitions=np.array([(i % streams) % PARTITIONS for i in numbers], np.int32),
                timestamps=np.full(len(numbers), -1, np.int64),
                keys=[keys[i % streams] for i in numbers],
                values=[values[i & 4095] for i in numbers],
            ),
        )
    store.close()


def measure(
    names: Sequence[str], broker: str, bundle: Path, streams: int, events: int, rounds: int
) -> dict[str, float]:
    """Events a second of each, the median over the rounds."""
    store = open_broker(broker, "confluent")
    rates: dict[str, list[float]] = {name: [] for name in names}
    fill(broker, f"in-{streams}", events, streams)
    for slow in {events // by for name, by in SLOW.items() if name in names}:
        fill(broker, f"in-{streams}-{slow}", slow, streams)
    for turn in range(rounds):
        for name in names:
            n = events // SLOW.get(name, 1)
            source = f"in-{streams}" if n == events else f"in-{streams}-{n}"
            target = f"out-{streams}-{turn}-{name.replace(' ', '-').replace(',', '')}"
            store.create_topic(target, PARTITIONS)
            if name in OURS:
                seconds = run_ours(bundle, broker, source, target, n, *OURS[name])
            else:
                command = [sys.executable, "-m", "tests.benchmarks.peers", name, broker, str(bundle / "step.onnx")]
                done = subprocess.run([*command, source, target, str(n)], check=True, stdout=subprocess.PIPE, text=True)
                seconds = json.loads(done.stdout)["seconds"]
            rates[name].append(n / seconds)
            print(f"  {streams} streams, {name}: {n / seconds:,.0f} events/s", file=sys.stderr, flush=True)
    store.close()
    return {name: statistics.median(found) for name, found in rates.items()}


def table(report: dict[str, dict[str, float]]) -> str:
    lines = []
    for streams, rates in report.items():
        lines.append(f"{streams} streams{'':24}events/s   of batched   of one by one")
        lines += [
            f"  {name:34}{rate:10,.0f}{rate / rates['batched']:13.2f}{rate / rates['one']:16.2f}"
            for name, rate in rates.items()
        ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=400_000)
    parser.add_argument("--streams", type=int, nargs="*", default=[4000, 4])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, RunningKafka() as kafka:
        bundle = make_bundle(Path(folder) / "lstm128", inputs=FEATURES, hidden=128, layers=2, outputs=1)
        report = {
            str(streams): measure([*PEERS, *OURS], kafka.bootstrap, bundle.path, streams, given.events, given.rounds)
            for streams in given.streams
        }
    print(table(report))
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        machine = {"cores": os.cpu_count(), "python": sys.version.split()[0]}
        given.json.write_text(json.dumps({"machine": machine, "events_per_second": report}, indent=2) + "\n")


if __name__ == "__main__":
    main()
