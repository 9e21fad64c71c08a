"""Records along wall time: what went in and out, and how the backlog of the kill was worked off."""

from __future__ import annotations

import numpy as np

from edge_rnn.demo.pictures.canvas import Canvas
from edge_rnn.demo.pictures.plot import MARK_ROW, Box, Mark, Plot, Range
from edge_rnn.demo.result import Result
from edge_rnn.demo.timeline import backlog, throughput

BIN_S = 0.25
ROWS_OF_MARKS = 3
HEADROOM = 14 + ROWS_OF_MARKS * MARK_ROW


def draw_throughput(result: Result, width: float) -> str:
    """Records in and out a second, in quarters of a second."""
    served = result.served
    end_s = max([*served.sent.at_s, *served.seen.at_s], default=0.0) + BIN_S
    went_in = throughput(served.sent.at_s, end_s, BIN_S)
    came_out = throughput(served.seen.at_s, end_s, BIN_S)
    canvas = Canvas(width, 250 + HEADROOM, "Records in and out a second along wall time")
    highest = float(max(went_in.max(initial=0), came_out.max(initial=0), 1)) * 1.05
    plot = Plot(canvas, Box(62, HEADROOM, width - 14, HEADROOM + 200), Range(0, end_s), Range(0, highest))
    _downtime(plot, result)
    plot.axes("time since the feed began (s)", "records a second")
    edges = [min(index * BIN_S, end_s) for index in range(len(went_in) + 1)]
    plot.steps(edges, came_out.tolist(), "out-area", filled=True)
    plot.steps(edges, came_out.tolist(), "out-line")
    plot.steps(edges, went_in.tolist(), "in-line")
    plot.marks(_marks(result))
    return canvas.render()


def draw_recovery(result: Result, width: float) -> str:
    """Records waiting, around the kill."""
    served, moments = result.served, result.served.moments
    times, waiting = backlog(served.sent.at_s, served.seen.at_s)
    settled = result.recovery.caught_up_s or result.recovery.first_output_s or moments.ready_s
    around = max(1.0, 0.35 * (settled - moments.killed_s))
    low, high = max(0.0, moments.killed_s - around), settled + around
    inside = np.flatnonzero((times >= low) & (times <= high))
    canvas = Canvas(width, 250 + HEADROOM, "Records waiting around the kill")
    most = float(waiting[inside].max(initial=1)) * 1.1
    plot = Plot(canvas, Box(62, HEADROOM, width - 14, HEADROOM + 200), Range(low, high), Range(0, most))
    _downtime(plot, result)
    plot.axes("time since the feed began (s)", "records waiting")
    if inside.size:
        edges = [*times[inside].tolist(), high]
        plot.steps(edges, waiting[inside].tolist(), "out-area", filled=True)
        plot.steps(edges, waiting[inside].tolist(), "strong-line")
    plot.marks(_marks(result))
    return canvas.render()


def _downtime(plot: Plot, result: Result) -> None:
    first = result.recovery.first_output_s
    if first is not None:
        plot.band(result.served.moments.killed_s, first, "down")


def _marks(result: Result) -> list[Mark]:
    moments, first = result.served.moments, result.recovery.first_output_s
    marks = [Mark(moments.killed_s, "SIGKILL", 2), Mark(moments.restarted_s, "started again", 1)]
    return marks if first is None else [*marks, Mark(first, "first output", 0)]
