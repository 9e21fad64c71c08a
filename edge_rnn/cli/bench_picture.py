"""A measured bundle as a drawing: steps a second over the batch, and what each stage of a record's way costs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from edge_rnn.demo.pictures.canvas import Canvas
from edge_rnn.demo.pictures.plot import Box, Plot, Range

if TYPE_CHECKING:
    from runtime.daemon.measure.bench import BenchReport

WIDTH, HEIGHT = 980, 430
STYLE = """
svg { background: #fff; font: 13px system-ui, sans-serif; }
text { fill: #222; } .title { font-weight: 600; font-size: 15px; } .tick, .note { font-size: 11px; fill: #666; }
.grid { stroke: #eee; } .axis { stroke: #999; } .label { font-size: 12px; fill: #444; }
.c0 { stroke: #2457a6; } .c1 { stroke: #c2571a; } .c2 { stroke: #2a8a57; } .c3 { stroke: #8b3fa8; }
path { fill: none; stroke-width: 2; } .bar { fill: #2457a6; } .most { fill: #c2571a; }
"""


def draw(report: BenchReport) -> str:
    """One SVG file."""
    canvas = Canvas(WIDTH, HEIGHT, f"What {report.bundle} costs on this machine")
    _model(canvas, report)
    _stages(canvas, report)
    body = canvas.render()
    return body.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1).replace(
        ">", f"><style>{STYLE}</style>", 1
    )


def _model(canvas: Canvas, report: BenchReport) -> None:
    cells = report.model
    canvas.text(60, 26, "The model alone, one thread", "title")
    widest = math.log2(max(cell.batch for cell in cells))
    top = max(cell.steps_per_s for cell in cells) / 1e3
    plot = Plot(canvas, Box(60, 60, 500, 370), Range(0, max(1.0, widest)), Range(0, top * 1.1))
    plot.axes("streams in a call", "thousand steps a second", x_ticks=[])
    for exponent in range(int(widest) + 1):
        if exponent % 2 == 0:
            canvas.text(plot.x(exponent), 387, f"{2**exponent}", "tick", "middle")
    for index, chunk in enumerate(sorted({cell.chunk for cell in cells})):
        line = [cell for cell in cells if cell.chunk == chunk]
        xs, ys = [math.log2(cell.batch) for cell in line], [cell.steps_per_s / 1e3 for cell in line]
        plot.line(xs, ys, f"c{index % 4}")
        canvas.line(68 + 105 * index, 46, 88 + 105 * index, 46, f"c{index % 4}")
        canvas.text(93 + 105 * index, 50, f"chunks of {chunk}", "note")


def _stages(canvas: Canvas, report: BenchReport) -> None:
    costs = report.costs
    canvas.text(560, 26, f"A record's way: {sum(costs.values()):.1f} µs", "title")
    most, left, right = max(costs.values()), 670, 930
    for index, (stage, cost) in enumerate(costs.items()):
        y = 52 + 30 * index
        canvas.text(left - 8, y + 14, stage, "label", "end")
        canvas.rect(left, y, (right - left) * cost / most, 20, "most" if cost == most else "bar")
        canvas.text(left + (right - left) * cost / most + 5, y + 14, f"{cost:.2f}", "note")
    y, limit, whole = 52 + 30 * len(costs) + 14, report.limit, report.end_to_end
    canvas.text(560, y, f"What limits: {limit.stage}, in {limit.thread}: {limit.alone_per_s:,.0f} events/s", "label")
    canvas.text(560, y + 19, f"End to end: {whole.events_per_s:,.0f} events/s", "label")
    for index, advice in enumerate(report.advice):
        canvas.text(560 + 190 * (index % 2), y + 40 + 19 * (index // 2), f"{advice.setting} {advice.value}", "label")
