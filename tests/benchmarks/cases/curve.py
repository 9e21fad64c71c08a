"""What an event costs from 100 to 1,000,000 streams, and what each part of it does."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from dataclasses import asdict
from typing import Any

import msgspec
import numpy as np

from tests.benchmarks.site import Site
from tests.benchmarks.standing import StandingDaemon

STREAMS = (100, 1_000, 10_000, 100_000, 1_000_000)
EVENTS = 250_000
STAGES = """
import sys, msgspec
from pathlib import Path
from edge_rnn.contract.bundle import open_bundle
from runtime.daemon.measure.stages import stages
found = stages(open_bundle(Path(sys.argv[1])), "f32", streams=int(sys.argv[2]))
print(msgspec.json.encode(found).decode())
"""


def curve(site: Site) -> None:
    """Processor time of daemon and broker on Kafka, and seconds of each part inside a process, by streams."""
    bundle = site.bundle("lstm128")
    found: dict[str, dict[str, Any]] = {}
    for streams in STREAMS:
        done = subprocess.run(
            [sys.executable, "-c", STAGES, str(bundle), str(streams)], capture_output=True, text=True, check=True
        )
        parts = msgspec.json.decode(done.stdout)
        with closing(StandingDaemon(site.kafka, bundle, site.folder, ["--client", "confluent"], 16)) as standing:
            standing.feed(np.arange(streams))
            fed = standing.feed(np.random.default_rng(5).integers(0, streams, EVENTS))
            standing.check()
        found[str(streams)] = {"parts": parts, "on_kafka": asdict(fed)}
        print(
            f"  {streams:,} streams: {fed.events_per_s:,.0f} events/s,"
            f" {fed.client_us:.1f} + {fed.broker_us:.1f} us an event",
            flush=True,
        )
    site.figures["cost by streams"] = found
