"""What durable state costs on Apache Kafka: bytes of snapshots a second, and seconds of a commit.

``python -m tests.benchmarks.snapshots [--streams N] [--seconds N] [--client NAME] [--json FILE]``

Every stream has one event a second. A changelog would write each change of a state, so events times
the bytes of one record; ours writes what the state topic's files grow by, read from the broker's disk.
Then single bursts of some streams at a time: seconds of the commits that follow each.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]  # its stubs do not say so

from runtime.transports.connect import open_broker
from tests.benchmarks.watched import FEATURES, PARTITIONS, WatchedDaemon, event_values, write_events
from tests.kafka.broker import RunningKafka
from tests.models_for_tests import make_bundle

INTERVAL_S = 30.0
SLICES = 10
BURSTS, TOUCHED = 20, (1, 10, 100, 1000, 4000)


def topic_bytes(kafka: RunningKafka, topic: str) -> int:
    """Bytes of a topic's segments on the broker's disk."""
    return sum(segment.stat().st_size for segment in (kafka.folder / "data").glob(f"{topic}-[0-9]*/*.log"))


def make_state_topic(kafka: RunningKafka) -> None:
    """The daemon's own topic, but not compacted while it is measured."""
    config = {"cleanup.policy": "compact", "segment.bytes": str(64 << 20), "min.compaction.lag.ms": "86400000"}
    topic = NewTopic("bench-state", num_partitions=PARTITIONS, replication_factor=1, config=config)
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    admin.create_topics([topic])["bench-state"].result()


def snapshot_bytes(kafka: RunningKafka, daemon: WatchedDaemon, streams: int, seconds: float) -> dict[str, float]:
    """Feed an event a second and stream; what the state topic grew by once the first interval had passed."""
    ended = threading.Event()

    def feed() -> None:
        own, values = open_broker(kafka.bootstrap, "confluent"), event_values()
        slices, turn, due = np.array_split(np.random.default_rng(0).permutation(streams), SLICES), 0, time.monotonic()
        while not ended.is_set():
            write_events(own, slices[turn % SLICES], values)
            turn, due = turn + 1, due + 1 / SLICES
            ended.wait(max(0.0, due - time.monotonic()))
        own.close()

    feeder = threading.Thread(target=feed)
    feeder.start()
    try:
        time.sleep(1.5 * INTERVAL_S)
        began, size = time.monotonic(), topic_bytes(kafka, "bench-state")
        events, snapshots = daemon.metric("records_committed_total"), daemon.metric("snapshots_total")
        time.sleep(seconds)
        took_s = time.monotonic() - began
        grown = topic_bytes(kafka, "bench-state") - size
        records = daemon.metric("records_committed_total") - events
        saved = daemon.metric("snapshots_total") - snapshots
        horizon = daemon.metric("replay_horizon_records")
    finally:
        ended.set()
        feeder.join()
    store = open_broker(kafka.bootstrap, "confluent")
    stored = store.read("bench-state", timeout_s=60)
    store.close()
    one = sum(len(key or b"") + len(value or b"") for key, value in zip(stored.keys, stored.values, strict=True))
    record_bytes = one / len(stored)
    return {
        "events_per_s": records / took_s,
        "snapshots_per_s": saved / took_s,
        "state_topic_bytes_per_s": grown / took_s,
        "record_bytes": record_bytes,
        "changelog_bytes_per_s": records * record_bytes / took_s,
        "of_changelog": grown / (records * record_bytes),
        "replay_horizon_records": horizon,
    }


def commit_seconds(kafka: RunningKafka, daemon: WatchedDaemon) -> dict[str, dict[str, float]]:
    """Mean time of the commits after bursts that touch so many streams, by that number."""
    store, values, found = open_broker(kafka.bootstrap, "confluent"), event_values(), {}
    committed = daemon.metric("records_committed_total")
    for touched in TOUCHED:
        before = [daemon.metric(name) for name in ("commit_seconds_sum", "commit_seconds_count", "snapshots_total")]
        for _ in range(BURSTS):
            write_events(store, np.arange(touched), values)
            committed += touched
            daemon.wait_committed(int(committed))
        after = [daemon.metric(name) for name in ("commit_seconds_sum", "commit_seconds_count", "snapshots_total")]
        seconds, commits, snapshots = (now - then for now, then in zip(after, before, strict=True))
        found[str(touched)] = {
            "seconds": seconds / commits,
            "commits_per_burst": commits / BURSTS,
            "snapshots_per_commit": snapshots / commits,
        }
    store.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--streams", type=int, default=10_000)
    parser.add_argument("--state-bytes", type=int, default=2048, help="a multiple of 16")
    parser.add_argument("--seconds", type=float, default=2 * INTERVAL_S)
    parser.add_argument("--client", choices=["confluent", "kafka-python"], default="confluent")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, RunningKafka() as kafka:
        bundle = make_bundle(Path(name) / "lstm", inputs=FEATURES, hidden=given.state_bytes // 16, layers=2, outputs=1)
        store = open_broker(kafka.bootstrap, "confluent")
        for topic in ("in", "out"):
            store.create_topic(topic, PARTITIONS)
        store.close()
        make_state_topic(kafka)
        commits = {}
        for interval, more in (("0", ("--snapshot-interval", "0")), ("30s", ())):
            daemon = WatchedDaemon(bundle.path, kafka.bootstrap, Path(name) / "own", ["--client", given.client, *more])
            daemon.wait_ready()
            commits[interval] = commit_seconds(kafka, daemon)
            if interval == "0":
                daemon.stop()
        report = snapshot_bytes(kafka, daemon, given.streams, given.seconds)
        daemon.stop()
    print(
        f"{given.streams:,} streams of {given.state_bytes} bytes, {report['events_per_s']:,.0f} events/s, {given.client}\n"
        f"  state topic {report['state_topic_bytes_per_s']:,.0f} bytes/s; a changelog"
        f" {report['changelog_bytes_per_s']:,.0f}: {report['of_changelog']:.2%} of it\n"
        f"  a crash would replay {report['replay_horizon_records']:,.0f} records of one partition\n"
        "streams touched    seconds of a commit    saving every state in every commit"
    )
    for touched, found in commits["30s"].items():
        print(f"{int(touched):15,}{found['seconds']:23.4f}{commits['0'][touched]['seconds']:38.4f}")
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        machine = {"cores": os.cpu_count(), "python": sys.version.split()[0]}
        figures = {"machine": machine, "client": given.client, "bytes": report, "commits_by_interval": commits}
        given.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
