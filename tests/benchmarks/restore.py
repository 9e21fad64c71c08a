"""From SIGKILL to ready again, on Apache Kafka, as the same member of the group.

``python -m tests.benchmarks.restore [--streams N] [--state-bytes N] [--replay N] [--client NAME] [--json FILE]``

1. One event for each stream; every state is saved; the daemon stops.
2. ``--replay`` events more, whose states are not saved: live, as fast as they go. SIGKILL.
3. The daemon starts again: snapshots are read, the events are replayed, `/readyz` answers.

The broker keeps its default of 3 s before a group's first join, which is reported apart.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

import numpy as np

from runtime.transports.connect import open_broker
from tests.benchmarks.watched import FEATURES, PARTITIONS, WatchedDaemon, event_values, write_events
from tests.kafka.broker import RunningKafka
from tests.models_for_tests import make_bundle

LAYERS = 2


def measure(bundle: Path, broker: str, folder: Path, streams: int, replay: int, client: str) -> dict[str, float]:
    """Seconds of each part, and rates in records a second."""
    store, values = open_broker(broker, "confluent"), event_values()
    for topic in ("in", "out"):
        store.create_topic(topic, PARTITIONS)
    write_events(store, np.arange(streams), values)
    more = ("--client", client)
    first = WatchedDaemon(bundle, broker, folder, [*more, "--snapshot-interval", "0"])
    first.wait_ready()
    first_join_s = first.lines("partitions assigned")[-1][0] - first.lines("starting")[-1][0]
    first.wait_committed(streams)
    first.stop()
    write_events(store, np.random.default_rng(0).integers(0, streams, replay), values)
    store.close()
    live = WatchedDaemon(bundle, broker, folder, [*more, "--snapshot-interval", "1h"])
    began = live.wait_ready()
    live_s = live.wait_committed(replay) - began
    live.kill()
    again = WatchedDaemon(bundle, broker, folder, [*more, "--snapshot-interval", "1h"])
    ready_s = again.wait_ready()
    starting, assigned, restored, ready = (
        again.lines(words)[-1][0]
        for words in ("starting", "partitions assigned", "partition restored", "partition ready")
    )
    replayed = again.metric("replayed_records_total")
    report = {
        "streams": streams,
        "restored_streams": again.metric("restored_streams_total"),
        "replayed_records": replayed,
        "first_join_s": first_join_s,
        "ready_s": ready_s,
        "start_s": starting,
        "join_s": assigned - starting,
        "snapshots_s": restored - assigned,
        "replay_s": ready - restored,
        "live_records_per_s": replay / live_s,
        "replay_records_per_s": replayed / (ready - restored),
        "replay_over_live": replayed / (ready - restored) / (replay / live_s),
        "peak_memory_bytes": again.peak_memory_bytes(),
    }
    again.stop()
    return {name: round(value, 3) for name, value in report.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--streams", type=int, default=10_000)
    parser.add_argument("--state-bytes", type=int, default=2048, help="a multiple of 16")
    parser.add_argument("--replay", type=int, default=300_000, help="events to replay")
    parser.add_argument("--client", choices=["confluent", "kafka-python"], default="confluent")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    hidden = given.state_bytes // (4 * 2 * LAYERS)
    with tempfile.TemporaryDirectory() as name, RunningKafka() as kafka:
        bundle = make_bundle(Path(name) / "lstm", inputs=FEATURES, hidden=hidden, layers=LAYERS, outputs=1)
        report = measure(bundle.path, kafka.bootstrap, Path(name) / "own", given.streams, given.replay, given.client)
    print(
        f"{report['restored_streams']:,.0f} streams of {given.state_bytes} bytes and {report['replayed_records']:,.0f}"
        f" records to replay, {given.client}\n"
        f"  ready again after {report['ready_s']:.2f} s: start {report['start_s']:.2f}, join {report['join_s']:.2f},"
        f" snapshots {report['snapshots_s']:.2f}, replay {report['replay_s']:.2f}\n"
        f"  replay {report['replay_records_per_s']:,.0f} records/s, live {report['live_records_per_s']:,.0f}:"
        f" {report['replay_over_live']:.2f} times\n"
        f"  the group's first join took {report['first_join_s']:.2f} s; most memory resident"
        f" {report['peak_memory_bytes'] / 2**20:,.0f} MiB"
    )
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        machine = {"cores": os.cpu_count(), "python": sys.version.split()[0]}
        given.json.write_text(json.dumps({"machine": machine, "client": given.client, **report}, indent=2) + "\n")


if __name__ == "__main__":
    main()
