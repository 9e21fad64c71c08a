"""What a rebalance costs the partitions that stay: two members, a third joins and takes one of four partitions.

``python -m tests.benchmarks.rebalance [--client NAME] [--seconds N] [--json FILE]``

Each partition gets a record every 20 ms; a reader of committed outputs notes when each arrives. Told are the longest
gaps between two arrivals of a partition: before the third member, and from its start until it serves, for the
partition that moved and for those that stayed with their members.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from confluent_kafka import Producer, TopicPartition

from runtime.transports.connect import open_broker
from tests.benchmarks.watched import PARTITIONS, WatchedDaemon, event_values
from tests.chaos.reading import make_consumer
from tests.kafka.broker import RunningKafka
from tests.models_for_tests import make_bundle

EVERY_S = 0.02
SETTLE_S = 3.0


class Arrivals:
    """When committed outputs of each partition arrive, by a reader and a feeder on threads of their own."""

    def __init__(self, bootstrap: str) -> None:
        self.times: dict[int, list[float]] = {partition: [] for partition in range(PARTITIONS)}
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=part, args=(bootstrap,)) for part in (self._feed, self._read)]
        for thread in self._threads:
            thread.start()

    def _feed(self, bootstrap: str) -> None:
        producer, values, number = Producer({"bootstrap.servers": bootstrap, "linger.ms": 0}), event_values(), 0
        while not self._ended.wait(EVERY_S):
            for partition in range(PARTITIONS):
                producer.produce("in", values[number % len(values)], b"s%d" % (number % 50), partition)
            producer.poll(0)
            number += 1
        producer.flush()

    def _read(self, bootstrap: str) -> None:
        reader = make_consumer(bootstrap, "read_committed")
        reader.assign([TopicPartition("out", partition, 0) for partition in range(PARTITIONS)])
        while not self._ended.is_set():
            for message in reader.consume(1000, 0.01):
                if message.error() is None:
                    self.times[message.partition()].append(time.time())
        reader.close()

    def longest_gap_s(self, partition: int, begin: float, end: float) -> float:
        """The longest time without an arrival between two moments."""
        inside = [moment for moment in self.times[partition] if begin <= moment <= end]
        return max(after - before for before, after in pairwise([begin, *inside, end]))

    def stop(self) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()


def measure(bundle: Path, bootstrap: str, folder: Path, client: str, seconds: float) -> dict[str, Any]:
    """Longest gaps in milliseconds."""
    store = open_broker(bootstrap, "confluent")
    for topic in ("in", "out"):
        store.create_topic(topic, PARTITIONS)
    store.close()

    def member(name: str) -> WatchedDaemon:
        return WatchedDaemon(bundle, bootstrap, folder / name, ["--client", client, "--instance", name])

    members = {name: member(name) for name in ("a", "b")}
    arrivals = Arrivals(bootstrap)
    try:
        for daemon in members.values():
            daemon.wait_ready()
        time.sleep(SETTLE_S)
        steady_from = time.time()
        time.sleep(seconds)
        joins_at = time.time()
        members["c"] = member("c")
        members["c"].wait_ready()
        time.sleep(SETTLE_S)
        ends_at = time.time()
        moved = {
            partition
            for partition in range(PARTITIONS)
            if f"partition ready partition={partition} " in members["c"].text
        }
        commits = sum(daemon.metric("commit_seconds_count") for daemon in members.values())
        committing_s = sum(daemon.metric("commit_seconds_sum") for daemon in members.values())
    finally:
        arrivals.stop()
        for daemon in members.values():
            daemon.kill()
    before = {p: arrivals.longest_gap_s(p, steady_from, joins_at) for p in range(PARTITIONS)}
    during = {p: arrivals.longest_gap_s(p, joins_at, ends_at) for p in range(PARTITIONS)}
    stayed = [partition for partition in range(PARTITIONS) if partition not in moved]
    return {
        "moved": sorted(moved),
        "longest_gap_before_ms": 1000 * max(before[p] for p in stayed),
        "longest_gap_of_those_that_stayed_ms": 1000 * max(during[p] for p in stayed),
        "longest_gap_of_what_moved_ms": 1000 * max(during[p] for p in moved),
        "mean_commit_ms": 1000 * committing_s / max(1.0, commits),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--client", default="confluent", choices=["confluent", "kafka-python"])
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, RunningKafka() as kafka:
        bundle = make_bundle(Path(folder) / "lstm", inputs=16, hidden=32, layers=1, outputs=1)
        report = measure(bundle.path, kafka.bootstrap, Path(folder), given.client, given.seconds)
    for name, value in report.items():
        print(f"{name:40}{value if isinstance(value, list) else format(value, '10.1f')}")
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        machine = {"cores": os.cpu_count(), "python": sys.version.split()[0]}
        given.json.write_text(json.dumps({"machine": machine, "client": given.client, **report}, indent=2) + "\n")


if __name__ == "__main__":
    main()
