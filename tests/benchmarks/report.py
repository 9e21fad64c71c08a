"""The report as a table for a person, and between the markers of a page.

``python -m tests.benchmarks.report bench-out/report.json docs/performance.md`` writes each table of the page anew:
what stands between ``<!-- bench: NAME -->`` and ``<!-- bench end -->``. ``NAME`` is `TABLES`' key.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

Report = dict[str, Any]
BLOCK = re.compile(r"(<!-- bench: ([a-z-]+) -->\n).*?(<!-- bench end -->)", re.DOTALL)


def table(report: Report) -> str:
    """Target and reached for every ratio, and what was left out."""
    quick = report["form"] == "quick"
    lines = [f"| | {'asked here' if quick else 'target'} | reached | |", "|-|-|-|-|"]
    for ratio in report["ratios"]:
        sign = "≥" if ratio["better"] == "more" else "≤"
        unit = "" if ratio["unit"] == "x" else f" {ratio['unit']}"
        note = f"{ratio['note']}" if ratio["note"] else ""
        verdict = "" if ratio["holds"] else "**missed** "
        lines.append(
            f"| {ratio['name']} | {sign} {number(ratio['asked'])}{unit} | {number(ratio['reached'])}{unit} |"
            f" {verdict}{note} |".replace("  |", " |")
        )
    lines += [f"\nNot run: {name}: {why.splitlines()[0][:300]}" for name, why in report["skipped"].items()]
    machine = report["machine"]
    lines.append(
        f"\n{report['form']} form, {report['began']}, {report['seconds'] / 60:.0f} minutes, {machine['cores']} cores of"
        f" {machine['processor']} with the broker beside, onnxruntime {machine['onnxruntime']}."
    )
    return "\n".join(lines)


def rates(report: Report) -> str:
    """Events a second and processor time of every contestant, by case."""
    lines = ["| | events/s | client µs | broker µs |", "|-|-|-|-|"]
    for case, names in report["figures"].items():
        if not isinstance(names, dict):
            continue
        for name, found in names.items():
            if isinstance(found, dict) and {"events_per_s", "client_us", "broker_us"} <= found.keys():
                lines.append(
                    f"| {case}: {_shown(name)} | {found['events_per_s']:,.0f} | {found['client_us']:.1f} |"
                    f" {found['broker_us']:.1f} |"
                )
    return "\n".join(lines)


def ceiling(report: Report) -> str:
    """Of what the ceiling is made."""
    found = report["figures"]["ceiling"]
    return (
        f"Consume and produce costs {found['pass_us']:.1f} µs of processor time an event, broker included, the model"
        f" {found['model_us']:.1f} µs: two cores could do {found['events_per_s']:,} events/s. Ours takes"
        f" {found['ours_us']:.1f} µs, in transactions and with durable states."
    )


def streams(report: Report) -> str:
    """Cost of an event by how many streams there are."""
    lines = [
        "| streams | events/s | daemon µs | broker µs | decode | streams | model | states | encode |",
        "|-|-|-|-|-|-|-|-|-|",
    ]
    for count, found in report["figures"]["cost by streams"].items():
        parts, fed = found["parts"], found["on_kafka"]
        lines.append(
            f"| {int(count):,} | {fed['events_per_s']:,.0f} | {fed['client_us']:.1f} | {fed['broker_us']:.1f} |"
            f" {parts['decode_us']:.2f} | {parts['streams_us']:.2f} | {parts['model_us'] - parts['moving_us']:.2f} |"
            f" {parts['moving_us']:.2f} | {parts['encode_us']:.2f} |"
        )
    return "\n".join(lines)


def million(report: Report) -> str:
    """The million streams: rates, memory, horizon, restore."""
    found = report["figures"]["1,000,000 streams"]
    after, stopped = found["restores"]["after_kill"], found["restores"]["after_stop"]
    return "\n".join(
        [
            "| | |",
            "|-|-|",
            *(
                f"| {name} | {found['rates'][order]:,.0f} events/s |"
                for name, order in (("uniform", "uniform"), ("Zipf", "zipf"), ("4,000 streams, same rounds", "few"))
            ),
            f"| new streams | {found['new_streams']['events_per_s']:,.0f} a second |",
            f"| memory | {found['bytes_a_stream']:,.0f} bytes a stream, {found['resident_bytes'] / 2**20:,.0f} MiB in all |",
            f"| a crash would replay | {found['replay_horizon_records_of_a_partition']:,.0f} records of a partition |",
            f"| ready after SIGKILL | {after['ready_s']:.1f} s: snapshots {after['snapshots_s']:.1f} s,"
            f" replay of {after['replayed_records']:,.0f} records {after['replay_s']:.1f} s |",
            f"| ready after SIGTERM | {stopped['ready_s']:.1f} s: snapshots {stopped['snapshots_s']:.1f} s,"
            f" replay of {stopped['replayed_records']:,.0f} records {stopped['replay_s']:.1f} s |",
        ]
    )


def _shown(name: str) -> str:
    return f"**{name.replace('ours', 'edge-rnn')}**" if name.startswith("ours") else f"`{name}`"


def number(value: float) -> str:
    """Short, for a table."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}"


TABLES: dict[str, Callable[[Report], str]] = {
    "ratios": table,
    "rates": rates,
    "ceiling": ceiling,
    "streams": streams,
    "million": million,
}


def rewrite(page: str, report: Report) -> str:
    """The page with its tables from this report; one whose case did not run stays as it was. Raises ``KeyError``."""

    def fill(block: re.Match[str]) -> str:
        try:
            return f"{block[1]}{TABLES[block[2]](report)}\n{block[3]}"
        except KeyError:
            if block[2] not in TABLES:
                raise
            return block[0]

    return BLOCK.sub(fill, page)


def main() -> None:
    """Write a page's tables."""
    source, page = Path(sys.argv[1]), Path(sys.argv[2])
    page.write_text(rewrite(page.read_text(), json.loads(source.read_text())))


if __name__ == "__main__":
    main()
