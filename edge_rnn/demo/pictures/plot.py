"""A plot on a canvas: two linear scales, their axes, lines, steps and marked moments."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from edge_rnn.demo.pictures.canvas import Canvas

MARK_ROW = 17


class Box(NamedTuple):
    """Where the plot's inside is, in pixels of the canvas."""

    left: float
    top: float
    right: float
    bottom: float


class Range(NamedTuple):
    """The values from one end of a scale to the other."""

    low: float
    high: float


class Mark(NamedTuple):
    """A moment to mark: its label stands in ``row`` above the plot, to the right."""

    x: float
    label: str
    row: int = 0


class Plot:
    """Maps values to pixels and draws what is given in values."""

    def __init__(self, canvas: Canvas, box: Box, x: Range, y: Range) -> None:
        self.canvas = canvas
        self.box = box
        self._x = x
        self._y = Range(y.low, y.high if y.high > y.low else y.low + 1)

    def x(self, value: float) -> float:
        """The pixel of a value of the horizontal scale."""
        share = (value - self._x.low) / (self._x.high - self._x.low)
        return self.box.left + share * (self.box.right - self.box.left)

    def y(self, value: float) -> float:
        """The pixel of a value of the vertical scale."""
        share = (value - self._y.low) / (self._y.high - self._y.low)
        return self.box.bottom - share * (self.box.bottom - self.box.top)

    def axes(
        self,
        x_label: str,
        y_label: str,
        *,
        x_ticks: Sequence[float] | None = None,
        y_ticks: Sequence[float] | None = None,
        y_percent: bool = False,
    ) -> None:
        """Grid, ticks and both labels, units included."""
        canvas, box = self.canvas, self.box
        room = max(2, int((box.right - box.left) // 70))
        for value in y_ticks if y_ticks is not None else ticks(*self._y, 4):
            at = self.y(value)
            canvas.line(box.left, at, box.right, at, "grid")
            canvas.text(box.left - 7, at + 4, f"{value:.0%}" if y_percent else _number(value), "tick", "end")
        for value in x_ticks if x_ticks is not None else ticks(*self._x, room):
            at = self.x(value)
            canvas.line(at, box.bottom, at, box.bottom + 4, "axis")
            canvas.text(at, box.bottom + 17, _number(value), "tick", "middle")
        canvas.line(box.left, box.bottom, box.right, box.bottom, "axis")
        canvas.text((box.left + box.right) / 2, box.bottom + 35, x_label, "label", "middle")
        canvas.upright(13, (box.top + box.bottom) / 2, y_label, "label")

    def line(self, xs: Sequence[float], ys: Sequence[float], look: str) -> None:
        """A line through points."""
        self.canvas.path([(self.x(x), self.y(y)) for x, y in zip(xs, ys, strict=True)], look)

    def steps(self, edges: Sequence[float], heights: Sequence[float], look: str, *, filled: bool = False) -> None:
        """A level between each two ``edges`` (one more than ``heights``), as an outline or an area."""
        points: list[tuple[float, float]] = []
        for index, height in enumerate(heights):
            points += [(self.x(edges[index]), self.y(height)), (self.x(edges[index + 1]), self.y(height))]
        if filled and points:
            floor = self.y(self._y.low)
            points = [(points[0][0], floor), *points, (points[-1][0], floor)]
        self.canvas.path(points, look, closed=filled)

    def band(self, low: float, high: float, look: str) -> None:
        """A stretch of time from top to bottom."""
        begin, end = max(low, self._x.low), min(high, self._x.high)
        if begin < end:
            left, right = self.x(begin), self.x(end)
            self.canvas.rect(left, self.box.top, right - left, self.box.bottom - self.box.top, look)

    def marks(self, marks: Sequence[Mark]) -> None:
        """Upright lines at moments, each with its label above the plot."""
        for mark in marks:
            if not self._x.low <= mark.x <= self._x.high:
                continue
            at = self.x(mark.x)
            base = self.box.top - 6 - MARK_ROW * mark.row
            self.canvas.line(at, base - 9, at, self.box.bottom, "mark")
            self.canvas.text(at + 4, base, mark.label, "marked")


def ticks(low: float, high: float, count: int) -> list[float]:
    """About ``count`` round numbers from ``low`` to ``high``."""
    if not high > low:
        return [low]
    raw = (high - low) / max(1, count)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [number * step for number in range(first, math.floor(high / step + 1e-9) + 1)]


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value - round(value)) < 1e-9 else f"{value:g}"
