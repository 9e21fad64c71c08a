"""How sure the model is, and when: class probabilities of a few streams, and the accuracy of all of them."""

from __future__ import annotations

import numpy as np

from edge_rnn.demo.pictures.canvas import Canvas
from edge_rnn.demo.pictures.plot import Box, Mark, Plot, Range
from edge_rnn.demo.predictions import Predictions

PANEL = 168.0
HEAD = 24.0


def draw_scores(found: Predictions, killed_step: float, width: float) -> str:
    """A small plot for one stream of each true class, the one whose prediction changed most."""
    chosen = [stream for number in range(len(found.labels)) if (stream := most_undecided(found, number)) is not None]
    columns = 1 if width < 600 else 2
    rows = -(-len(chosen) // columns)
    canvas = Canvas(width, rows * (PANEL + HEAD) + 26, "Class probabilities along time of a few streams")
    steps = found.said.shape[1]
    panel = width / columns
    for place, stream in enumerate(chosen):
        left = (place % columns) * panel
        top = (place // columns) * (PANEL + HEAD) + HEAD
        box = Box(left + 46, top, left + panel - 10, top + PANEL - 34)
        plot = Plot(canvas, box, Range(0, steps), Range(0, 1))
        number = int(found.truth[stream])
        canvas.rect(box.left, top - 18, 10, 10, f"c{number}")
        canvas.text(box.left + 15, top - 9, f"{found.keys[stream]}, truly {found.labels[number]}", "name")
        is_last_row = place // columns == rows - 1
        _small_axes(plot, steps, "steps seen" if is_last_row else "")
        plot.canvas.line(plot.x(killed_step), box.top, plot.x(killed_step), box.bottom, "mark")
        for other in range(len(found.labels)):
            look = f"s{other}" + (" strong" if other == number else "")
            plot.line(range(1, steps + 1), np.nan_to_num(found.scores[stream, :, other]).tolist(), look)
    return canvas.render()


def draw_accuracy(found: Predictions, killed_step: float, width: float) -> str:
    """The share of streams named rightly after so many steps."""
    canvas = Canvas(width, 250, "Accuracy over all streams after each step")
    box = Box(58, 26, width - 14, 204)
    steps = found.said.shape[1]
    plot = Plot(canvas, box, Range(0, steps), Range(0, 1))
    plot.axes("steps seen (10 a second of recording)", "streams named rightly", y_percent=True)
    plot.marks([Mark(killed_step, "daemon killed here")])
    plot.steps([float(edge) for edge in range(steps + 1)], found.accuracy_along.tolist(), "strong-line")
    return canvas.render()


def most_undecided(found: Predictions, number: int) -> int | None:
    """Of the streams of a true class, the one whose prediction changed most often; ``None``: there is none."""
    streams = np.flatnonzero(found.truth == number)
    if not streams.size:
        return None
    changes = (np.diff(found.said[streams], axis=1) != 0).sum(axis=1)
    return int(streams[changes.argmax()])


def _small_axes(plot: Plot, steps: int, label: str) -> None:
    box = plot.box
    for share in (0.0, 0.5, 1.0):
        plot.canvas.line(box.left, plot.y(share), box.right, plot.y(share), "grid")
        plot.canvas.text(box.left - 6, plot.y(share) + 4, f"{share:.0%}", "tick", "end")
    for value in (0, steps / 2, steps):
        plot.canvas.text(plot.x(value), box.bottom + 16, f"{value:g}", "tick", "middle")
    plot.canvas.line(box.left, box.bottom, box.right, box.bottom, "axis")
    if label:
        plot.canvas.text((box.left + box.right) / 2, box.bottom + 34, label, "label", "middle")
