"""Predictions along time: a row a stream, a colour a class, and whether the last step is right."""

from __future__ import annotations

from itertools import groupby

import numpy as np

from edge_rnn.demo.pictures.canvas import Canvas
from edge_rnn.demo.pictures.plot import ticks
from edge_rnn.demo.predictions import MISSING, Predictions

ROW = 11.0
GAP = 12.0
TOP = 26.0
STEPS_PER_S = 10


def draw_labels(found: Predictions, killed_step: float, width: float) -> str:
    """All streams, those of a true class together; ``killed_step`` is where the daemon was killed."""
    narrow = width < 600
    left, right = (86.0, width - 20.0) if narrow else (124.0, width - 28.0)
    classes = range(len(found.labels))
    groups = [np.flatnonzero(found.truth == number).tolist() for number in classes]
    height = TOP + sum(len(group) * ROW + GAP for group in groups if group) + 40
    steps = found.said.shape[1]
    canvas = Canvas(width, height, "Predicted class of every stream after each step, rows grouped by true class")
    scale = (right - left) / steps
    top = TOP
    for number, group in zip(classes, groups, strict=True):
        if not group:
            continue
        bottom = top + len(group) * ROW
        hits = int(found.right[group, -1].sum())
        middle = (top + bottom) / 2
        canvas.rect(left - 9, top, 5, bottom - top - 1, f"c{number}")
        canvas.text(left - 15, middle - 2, found.labels[number], "name", "end")
        canvas.text(left - 15, middle + 13, f"{hits} of {len(group)}", "tick", "end")
        for place, stream in enumerate(group):
            y = top + place * ROW
            _row(canvas, found, stream, left, y, scale)
            _verdict(canvas, right + 12, y + ROW / 2 - 0.5, bool(found.right[stream, -1]))
        top = bottom + GAP
    end = top - GAP
    at = left + killed_step * scale
    canvas.line(at, TOP - 8, at, end + 2, "mark over")
    canvas.text(at, TOP - 13, "daemon killed here", "marked", "middle")
    for value in ticks(0, steps, 4 if narrow else 8):
        canvas.line(left + value * scale, end + 3, left + value * scale, end + 7, "axis")
        canvas.text(left + value * scale, end + 20, f"{value:.0f}", "tick", "middle")
    canvas.text((left + right) / 2, end + 37, f"steps seen ({STEPS_PER_S} a second of recording)", "label", "middle")
    return canvas.render()


def _row(canvas: Canvas, found: Predictions, stream: int, left: float, y: float, scale: float) -> None:
    """One stream: a rectangle for each stretch of equal predictions."""
    begin = 0
    truth = found.labels[found.truth[stream]]
    for said, run in groupby(found.said[stream].tolist()):
        length = len(list(run))
        name = "no output" if said == MISSING else found.labels[said]
        title = f"{found.keys[stream]}, steps {begin + 1} to {begin + length}: {name} (true: {truth})"
        look = "missing" if said == MISSING else f"c{said}"
        canvas.rect(left + begin * scale, y, length * scale, ROW - 1, look, title)
        begin += length


def _verdict(canvas: Canvas, x: float, y: float, is_right: bool) -> None:
    """A tick or a cross, 7 pixels wide."""
    if is_right:
        canvas.path([(x - 3.5, y), (x - 1, y + 2.8), (x + 3.5, y - 3.2)], "tickmark")
    else:
        canvas.path([(x - 3, y - 3), (x + 3, y + 3)], "cross")
        canvas.path([(x - 3, y + 3), (x + 3, y - 3)], "cross")
