"""A million streams on one machine: rate against 4,000, memory a stream, replay horizon, restore."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from typing import Any

import numpy as np

from edge_rnn.contract.bundle import open_bundle
from tests.benchmarks.site import Site
from tests.benchmarks.standing import Fed, StandingDaemon
from tests.benchmarks.workload import Workload, key_of

STREAMS, FEW, BASE = 1_000_000, 4000, 1000
EVENTS = 400_000
BEYOND_STATE_BYTES = 200
"""What a stream may take in memory beside its state and its key."""


def million(site: Site) -> None:
    """Uniform and by Zipf's law, in turns with 4,000 streams in another daemon, all with default settings."""
    bundle = site.bundle("lstm128")
    arguments = ["--client", "confluent"]
    with (
        closing(StandingDaemon(site.kafka, bundle, site.folder, arguments, 16)) as many,
        closing(StandingDaemon(site.kafka, bundle, site.folder, arguments, 16)) as few,
    ):
        base = many.feed(np.arange(200_000) % BASE)
        new = many.feed(np.arange(BASE, STREAMS))
        few.feed(np.arange(FEW))
        rounds: dict[str, list[Fed]] = {"uniform": [], "zipf": [], "few": []}
        for _ in range(site.rounds):
            for order, events in _chunks(len(rounds["few"])):
                fed = (few if order == "few" else many).feed(events)
                rounds[order].append(fed)
                print(f"  1,000,000 streams, {order}: {fed.events_per_s:,.0f} events/s", flush=True)
        many.check()
        few.check()
        killed = many.restart(kill=True)
        stopped = many.restart(kill=False)
        print(f"  1,000,000 streams, after SIGKILL: {killed}; after SIGTERM: {stopped}", flush=True)
    _report(site, base, new, rounds, {"after_kill": killed, "after_stop": stopped})


def _chunks(turn: int) -> Iterator[tuple[str, np.ndarray]]:
    generator = np.random.default_rng(10 + turn)
    zipf = Workload(STREAMS, EVENTS, "zipf").numbers()
    yield "uniform", generator.integers(0, STREAMS, EVENTS)
    yield "few", np.arange(EVENTS) % FEW
    yield "zipf", zipf
    yield "few", np.arange(EVENTS) % FEW


def _report(site: Site, base: Fed, new: Fed, rounds: dict[str, list[Fed]], restores: dict[str, Any]) -> None:
    rates = {order: statistics.median(fed.events_per_s for fed in some) for order, some in rounds.items()}
    most = rounds["uniform"][-1].resident_bytes
    a_stream = (most - base.resident_bytes) / (STREAMS - BASE)
    state = open_bundle(site.bundle("lstm128")).manifest.state_bytes
    allowed = state + BEYOND_STATE_BYTES + len(key_of(0))
    horizon = max(fed.horizon for fed in [*rounds["uniform"], *rounds["zipf"]])
    site.figures["1,000,000 streams"] = {
        "rates": rates,
        "rounds": {order: [asdict(fed) for fed in some] for order, some in rounds.items()},
        "new_streams": asdict(new),
        "base_resident_bytes": base.resident_bytes,
        "resident_bytes": most,
        "bytes_a_stream": round(a_stream, 1),
        "replay_horizon_records_of_a_partition": horizon,
        "restores": restores,
    }
    note = (
        f"a crash would replay up to {horizon:,.0f} records of a partition; ready {restores['after_kill']['ready_s']:.1f} s"
        f" after SIGKILL, {restores['after_stop']['ready_s']:.1f} s after SIGTERM"
    )
    for order in ("uniform", "zipf"):
        site.reached(f"1,000,000 streams, {order}: of the rate at 4,000", rates[order] / rates["few"], 0.7, note=note)
    site.reached(
        "1,000,000 streams: memory a stream", a_stream, allowed, better="less", unit="bytes",
        note=f"{state} of state, {len(key_of(0))} of key",
    )  # fmt: skip
