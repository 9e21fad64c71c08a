"""An SVG drawing: shapes and text whose looks come from the page's style sheet, by class."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Literal

Anchor = Literal["start", "middle", "end"]


class Canvas:
    """Collects shapes; coordinates are CSS pixels from the top left. ``label`` says to a screen reader what is shown."""

    def __init__(self, width: float, height: float, label: str) -> None:
        self.width = width
        self.height = height
        self._label = label
        self._parts: list[str] = []

    def rect(self, x: float, y: float, width: float, height: float, look: str, title: str | None = None) -> None:
        """A rectangle; ``title`` is shown by a mouse that rests on it."""
        size = f'x="{x:.1f}" y="{y:.1f}" width="{max(0.0, width):.1f}" height="{max(0.0, height):.1f}"'
        self._add(f'<rect class="{look}" {size}', "rect", title)

    def line(self, x1: float, y1: float, x2: float, y2: float, look: str) -> None:
        """A straight line."""
        self._parts.append(f'<line class="{look}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>')

    def path(self, points: Iterable[tuple[float, float]], look: str, *, closed: bool = False) -> None:
        """A line through points, closed to an area if asked."""
        drawn = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        if drawn:
            self._parts.append(f'<path class="{look}" d="M{drawn}{"Z" if closed else ""}"/>')

    def text(self, x: float, y: float, text: str, look: str = "", anchor: Anchor = "start") -> None:
        """Text whose base line begins, is centred or ends at the point."""
        self._parts.append(f'<text class="{look}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>')

    def upright(self, x: float, y: float, text: str, look: str = "") -> None:
        """Text that reads upwards, centred at the point."""
        turned = f'transform="translate({x:.1f} {y:.1f}) rotate(-90)" text-anchor="middle"'
        self._parts.append(f'<text class="{look}" {turned}>{escape(text)}</text>')

    def render(self) -> str:
        """The whole ``<svg>`` element."""
        size = f'viewBox="0 0 {self.width:.0f} {self.height:.0f}" width="{self.width:.0f}" height="{self.height:.0f}"'
        return f'<svg {size} role="img" aria-label="{escape(self._label)}">{"".join(self._parts)}</svg>'

    def _add(self, begin: str, tag: str, title: str | None) -> None:
        end = "/>" if title is None else f"><title>{escape(title)}</title></{tag}>"
        self._parts.append(begin + end)
