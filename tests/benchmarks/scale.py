"""Past this machine: 100 million streams over 1,000 members and 10,000 partitions, from figures measured on one.

``python -m tests.benchmarks.scale bench-out/report.json docs/scale.md`` writes the page's tables: what stands between
``<!-- scale: NAME -->`` and ``<!-- scale end -->``. ``sizes`` is arithmetic over `Fleet` and `Measured`; ``horizon``
steps the product's own stream table and snapshot pace through the commits of one member, on a clock that is a number.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from runtime.checkpoint.policy import SNAPSHOT_SHARE, SnapshotPace, SnapshotPolicy
from runtime.core.streams import StreamTable

BLOCK = re.compile(r"(<!-- scale: ([a-z-]+) -->\n).*?(<!-- scale end -->)", re.DOTALL)
GB, DAY_S = 1e9, 86_400.0


@dataclass(frozen=True, slots=True)
class Measured:
    """From one report of ``make bench``: seconds of processor time, on this machine's cores.

    ``commit_wall_s`` is on the clock: from the beginning of a transaction of 8 partitions until it is committed.
    """

    client_event_s: float
    broker_event_s: float
    transaction_s: float
    partition_in_transaction_s: float
    snapshot_s: float
    restored_per_s: float
    replayed_per_s: float
    memory_stream_bytes: float
    commit_wall_s: float

    @classmethod
    def of(cls, report: dict[str, Any]) -> Measured:
        """Raises ``KeyError`` where a case did not run."""
        figures = report["figures"]
        million, curve = figures["1,000,000 streams"], figures["cost by streams"]["100000"]["on_kafka"]
        some, most = (figures["transactions"][count]["broker_cpu_ms"] / 1e3 for count in ("1", "32"))
        a_partition = max(0.0, (most - some) / 31)
        killed = million["restores"]["after_kill"]
        return cls(
            client_event_s=curve["client_us"] / 1e6,
            broker_event_s=curve["broker_us"] / 1e6,
            transaction_s=some - a_partition,
            partition_in_transaction_s=a_partition,
            snapshot_s=SNAPSHOT_SHARE / max(fed["snapshots_per_s"] for fed in million["rounds"]["uniform"]),
            restored_per_s=killed["restored_streams"] / killed["snapshots_s"],
            replayed_per_s=killed["replayed_records"] / max(killed["replay_s"], 1e-3),
            memory_stream_bytes=million["bytes_a_stream"],
            commit_wall_s=figures["transactions"]["8"]["ms"] / 1e3,
        )


@dataclass(frozen=True, slots=True)
class Fleet:
    """What is asked of it. ``events_per_s`` is of all streams; bytes are those of the LSTM with 2 layers of 128."""

    streams: int = 100_000_000
    members: int = 1_000
    partitions: int = 10_000
    events_per_s: float = 10_000_000.0
    state_bytes: int = 2048
    key_bytes: int = 24
    snapshot_header_bytes: int = 32
    input_bytes: int = 64
    output_bytes: int = 4
    record_overhead_bytes: int = 10
    replicas: int = 3
    interval_s: float = 30.0
    commit_s: float = 0.1
    segment_bytes: int = 64 << 20
    session_s: float = 45.0
    core_hour: float = 0.04
    disk_gb_month: float = 0.08
    broker_cores: int = 16
    broker_bytes_per_s: float = 1.0e9

    @property
    def snapshot_bytes(self) -> int:
        """One snapshot record."""
        return self.state_bytes + self.key_bytes + self.snapshot_header_bytes + self.record_overhead_bytes


def sizes(fleet: Fleet, measured: Measured) -> dict[str, tuple[float, str]]:
    """What the fleet moves, holds and waits for: name to value and unit."""
    a_member, held = fleet.partitions / fleet.members, fleet.streams / fleet.partitions
    rate = fleet.events_per_s / fleet.members
    dirty = fleet.streams * -np.expm1(-fleet.events_per_s / fleet.streams * fleet.interval_s)
    wanted = dirty / fleet.interval_s
    affordable = fleet.members * SNAPSHOT_SHARE / measured.snapshot_s
    saved = min(wanted, affordable)
    interval = fleet.interval_s * max(1.0, wanted / affordable)
    output = fleet.events_per_s * (fleet.output_bytes + fleet.key_bytes + fleet.record_overhead_bytes)
    commits = fleet.members / fleet.commit_s
    written = 2 * a_member  # output and state; the group's offsets are one more
    transaction = measured.transaction_s + measured.partition_in_transaction_s * written
    live = fleet.streams * fleet.snapshot_bytes
    topic = 2 * live + fleet.partitions * fleet.segment_bytes
    replay = rate / a_member * interval
    one = topic / fleet.partitions
    restore = 2 * held / measured.restored_per_s + replay / measured.replayed_per_s
    broker_cores = fleet.replicas * (fleet.events_per_s * measured.broker_event_s + commits * transaction)
    cores = fleet.events_per_s * measured.client_event_s + broker_cores
    machines = brokers(fleet, broker_cores)
    billion_s = 1e9 / fleet.events_per_s
    price = cores * billion_s / 3600 * fleet.core_hour
    disk = topic * fleet.replicas / GB * fleet.disk_gb_month * billion_s / (30 * DAY_S)
    return {
        "events a member": (rate, "/s"),
        "processor of a member": (100 * rate * measured.client_event_s, "% of a core"),
        "memory of a member's streams": (fleet.streams / fleet.members * measured.memory_stream_bytes / GB, "GB"),
        "snapshots, all members": (saved, "/s"),
        "snapshot bandwidth": (saved * fleet.snapshot_bytes / GB, "GB/s"),
        "snapshot bandwidth, replicated": (saved * fleet.snapshot_bytes * fleet.replicas / GB, "GB/s"),
        "snapshot interval that results": (interval, "s"),
        "output bandwidth": (output / GB, "GB/s"),
        "transactions at the coordinators": (commits, "/s"),
        "the same where all members have caught up": (fleet.members * min(rate, 1 / measured.commit_wall_s), "/s"),
        "markers": (commits * (written + 1), "/s"),
        "broker cores for transactions": (commits * transaction * fleet.replicas, "cores"),
        "offset commits in one partition of the group's offsets": (commits, "/s"),
        "state topic, live": (live / GB, "GB"),
        "state topic, before compaction, replicated": (topic * fleet.replicas / GB, "GB"),
        "a partition's snapshots to read": (one / 1e6, "MB"),
        "a partition's replay": (replay, "records"),
        "a member lost: until its partitions go on": (fleet.session_s + restore, "s"),
        "a rolled member: until its partitions go on": (a_member * restore, "s"),
        "whole fleet restarted": (
            max(a_member * restore, topic / (machines * fleet.broker_bytes_per_s)),
            "s",
        ),
        "brokers": (np.ceil(machines), ""),
        "cost per billion events": (price + disk, "$"),
    }


def brokers(fleet: Fleet, cores: float) -> float:
    """Brokers by processor cores and by bytes, whichever asks for more; at least one for each replica."""
    bytes_per_s = (
        fleet.replicas
        * fleet.events_per_s
        * (fleet.input_bytes + fleet.output_bytes + 2 * (fleet.key_bytes + fleet.record_overhead_bytes))
    )
    return max(float(fleet.replicas), cores / fleet.broker_cores, bytes_per_s / fleet.broker_bytes_per_s)


@dataclass(frozen=True, slots=True)
class Simulated:
    """One member, once it has settled: snapshots a second, and the longest replay of a partition, in records and time."""

    order: str
    events_per_s: float
    snapshots_per_s: float
    replay_records: float
    replay_s: float
    dirty_share: float


def simulate(fleet: Fleet, measured: Measured, order: str, events_per_s: float, seconds: float = 240.0) -> Simulated:
    """One partition of a member through ``seconds`` of commits, with its share of the member's budget.

    ``events_per_s`` is of the whole fleet. Snapshots cost `Measured.snapshot_s` each, default budget.
    """
    share = fleet.members / fleet.partitions
    streams = round(fleet.streams / fleet.partitions)
    rate = events_per_s / fleet.members * share
    table, pace = StreamTable(), SnapshotPace(SnapshotPolicy(fleet.interval_s), fleet.snapshot_bytes)
    slots = np.asarray(table.take(0, [b"%d" % number for number in range(streams)])[0])
    ends = np.cumsum(1 / np.arange(1, streams + 1)) if order == "zipf" else np.arange(1.0, streams + 1)
    generator, offset, now, saved, worst, shares = np.random.default_rng(0), 0, 0.0, 0, 0, []
    while now < seconds:
        now += fleet.commit_s
        n = int(generator.poisson(rate * fleet.commit_s))
        touched = slots[np.searchsorted(ends, generator.random(n) * ends[-1], side="right")]
        if n:
            table.touch(touched, np.arange(offset, offset + n), np.full(n, -1), now)
        offset += n
        quota = pace.quota(table.dirty(0), now)
        due = np.asarray(table.due(0, quota.least, quota.most, quota.before_s), np.int64)
        table.saved(due)
        pace.spent(due.size, due.size * measured.snapshot_s / share, now)  # the others' cost is in the same budget
        if now > seconds / 2:
            saved += due.size
            worst = max(worst, offset - table.replay_from(0, offset))
            shares.append(table.dirty(0) / streams)
    return Simulated(
        order,
        events_per_s,
        saved / (seconds / 2) / share * fleet.members,
        float(worst),
        worst / rate,
        float(np.mean(shares)),
    )


def sizes_table(report: dict[str, Any]) -> str:
    """`sizes` for a tenth, one and ten events a stream in ten seconds."""
    measured = Measured.of(report)
    rates = (1e6, 1e7, 1e8)
    columns = [sizes(Fleet(events_per_s=rate), measured) for rate in rates]
    lines = ["| | " + " | ".join(f"{rate / 1e6:g} M events/s" for rate in rates) + " |", "|-|" + "-|" * len(rates)]
    for name in columns[0]:
        cells = [f"{_short(column[name][0])} {column[name][1]}".strip() for column in columns]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def horizon_table(report: dict[str, Any]) -> str:
    """`simulate`, uniform and by Zipf's law."""
    measured, fleet = Measured.of(report), Fleet()
    lines = [
        "| streams' traffic | events/s | snapshots/s | dirty | longest replay of a partition |",
        "|-|-|-|-|-|",
    ]
    for order in ("uniform", "zipf"):
        for rate in (1e6, 1e7, 1e8):
            found = simulate(fleet, measured, order, rate)
            lines.append(
                f"| {order} | {rate / 1e6:g} M | {_short(found.snapshots_per_s)} | {found.dirty_share:.0%} |"
                f" {_short(found.replay_records)} records, {found.replay_s:.0f} s of input |"
            )
    return "\n".join(lines)


def measured_table(report: dict[str, Any]) -> str:
    """The figures that all else is from."""
    m = Measured.of(report)
    rows = [
        ("an event in the daemon, at 100,000 streams", f"{1e6 * m.client_event_s:.1f} µs"),
        ("an event in the broker", f"{1e6 * m.broker_event_s:.1f} µs"),
        ("a transaction in the broker, and each partition in it", f"{1e3 * m.transaction_s:.2f} ms,"
         f" {1e3 * m.partition_in_transaction_s:.2f} ms"),
        ("a transaction of 8 partitions, on the clock", f"{1e3 * m.commit_wall_s:.1f} ms"),
        ("a snapshot in the daemon", f"{1e6 * m.snapshot_s:.1f} µs"),
        ("snapshots restored", f"{_short(m.restored_per_s)} a second"),
        ("records replayed", f"{_short(m.replayed_per_s)} a second"),
        ("memory of a stream", f"{m.memory_stream_bytes:,.0f} bytes"),
    ]  # fmt: skip
    return "\n".join(["| measured on this machine | |", "|-|-|", *(f"| {name} | {value} |" for name, value in rows)])


def _short(value: float) -> str:
    if value >= 10_000:
        for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
            if value >= size:
                return f"{value / size:.3g} {letter}"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


TABLES: dict[str, Callable[[dict[str, Any]], str]] = {
    "measured": measured_table,
    "sizes": sizes_table,
    "horizon": horizon_table,
}


def main() -> int:
    """Write a page's tables."""
    report, page = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
    try:
        tables = {name: table(report) for name, table in TABLES.items()}
    except KeyError as error:
        print(f"{page} stays as it was: the report has no {error}; run all cases of make bench", file=sys.stderr)
        return 1
    page.write_text(BLOCK.sub(lambda block: f"{block[1]}{tables[block[2]]}\n{block[3]}", page.read_text()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
