"""The report's pictures, by matplotlib: ratios, rates, cost by streams, latency."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

from tests.benchmarks.report import number

Report = dict[str, Any]
OURS, THEIRS, MISSED = "#2457a6", "#9aa3ad", "#c2571a"
PARTS = {
    "decode_us": "decode",
    "streams_us": "streams",
    "graph_us": "model",
    "moving_us": "states",
    "encode_us": "encode",
}


def draw_all(report: Report, out: Path) -> None:
    """Each picture whose figures are there, as PNG."""
    ratios(report, out / "ratios.png")
    rates(report, out / "rates.png")
    if "cost by streams" in report["figures"]:
        cost_by_streams(report, out / "streams.png")
    if "latency" in report["figures"]:
        latency(report, out / "latency.png")


def ratios(report: Report, path: Path) -> None:
    """Reached over target, so that 1 is the target whichever way is better."""
    rows = report["ratios"][::-1]
    if not rows:
        return
    shares = [r["reached"] / r["target"] if r["better"] == "more" else r["target"] / r["reached"] for r in rows]
    figure, axes = plt.subplots(figsize=(9, 0.34 * len(rows) + 1.2), layout="constrained")
    colours = [OURS if row["holds"] else MISSED for row in rows]
    axes.barh([row["name"] for row in rows], shares, color=colours)
    axes.axvline(1.0, color="black", linewidth=1)
    for place, (row, share) in enumerate(zip(rows, shares, strict=True)):
        unit = "" if row["unit"] == "x" else f" {row['unit']}"
        text = f" {number(row['reached'])}{unit} (target {number(row['target'])})"
        axes.text(share, place, text, va="center", fontsize=8)
    axes.set_xlim(0, max(2.0, 1.35 * max(shares)))
    axes.set_xlabel("share of the target that was reached")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def rates(report: Report, path: Path) -> None:
    """Every contestant's rate, a panel a case; dots are single runs."""
    cases = {}
    for case, names in report["figures"].items():
        if isinstance(names, dict):
            found = {name: some for name, some in names.items() if isinstance(some, dict) and "runs" in some}
            if found:
                cases[case] = found
    if not cases:
        return
    heights = [len(names) + 1 for names in cases.values()]
    figure, panels = plt.subplots(
        len(cases), 1, figsize=(9, 0.32 * sum(heights) + 1), height_ratios=heights, layout="constrained", squeeze=False
    )
    for axes, (case, names) in zip(panels[:, 0], cases.items(), strict=True):
        labels = list(names)[::-1]
        values = [names[name]["events_per_s"] / 1e3 for name in labels]
        axes.barh(
            [name.replace("ours", "edge-rnn") for name in labels],
            values,
            color=[OURS if name.startswith("ours") else THEIRS for name in labels],
        )
        for place, name in enumerate(labels):
            runs = [run["events"] / run["seconds"] / 1e3 for run in names[name]["runs"]]
            axes.plot(runs, [place] * len(runs), "k.", markersize=4)
        axes.set_title(case, fontsize=9, loc="left")
        axes.tick_params(labelsize=8)
    panels[-1, 0].set_xlabel("thousand events a second")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def cost_by_streams(report: Report, path: Path) -> None:
    """Processor time an event on Kafka, and inside it what each part costs, by streams."""
    found = report["figures"]["cost by streams"]
    streams = [int(count) for count in found]
    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    daemon = [found[str(n)]["on_kafka"]["client_us"] for n in streams]
    both = [found[str(n)]["on_kafka"]["client_us"] + found[str(n)]["on_kafka"]["broker_us"] for n in streams]
    below = [0.0] * len(streams)
    for part, label in PARTS.items():
        values = []
        for n in streams:
            parts = found[str(n)]["parts"]
            values.append(parts["model_us"] - parts["moving_us"] if part == "graph_us" else parts[part])
        tops = [low + value for low, value in zip(below, values, strict=True)]
        axes.fill_between(streams, below, tops, label=label, alpha=0.75)
        below = tops
    axes.plot(streams, daemon, "k-o", markersize=4, label="daemon, processor time")
    axes.plot(streams, both, "k--o", markersize=4, label="daemon and broker")
    axes.set_xscale("log")
    axes.set_ylim(0)
    axes.set_xlabel("streams")
    axes.set_ylabel("µs an event")
    axes.legend(fontsize=8, ncols=2)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def latency(report: Report, path: Path) -> None:
    """Percentiles of each round."""
    figure, axes = plt.subplots(figsize=(8, 4), layout="constrained")
    for name, runs in report["figures"]["latency"].items():
        ours = name.startswith("ours")
        for turn, run in enumerate(runs):
            places = [str(percentile) for percentile in run["ms"]]
            label = (name.replace("ours", "edge-rnn") if ours else "bare transactional loop") if turn == 0 else None
            axes.plot(places, list(run["ms"].values()), color=OURS if ours else MISSED, label=label, marker=".")
    axes.set_yscale("log")
    axes.set_xlabel("percentile")
    axes.set_ylabel("ms from event to committed output")
    axes.legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    draw_all(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[1]).parent)
