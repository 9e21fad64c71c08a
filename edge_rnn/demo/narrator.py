"""The demo's voice on the terminal: numbered steps, a line or two each, and a line that changes while it runs."""

from __future__ import annotations

import os
import time
from typing import TextIO

STEPS = 6
"""How many steps the story has."""

LINE_EVERY_S = 3.0
"""How often the changing line is written where it cannot be written over."""


class Narrator:
    """Writes to ``stream``; bold and a changing line only where it is a terminal."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self._number = 0
        self._is_terminal = stream.isatty()
        self._bold = self._is_terminal and "NO_COLOR" not in os.environ
        self._is_live = False
        self._next_line = 0.0
        self._began_s = time.monotonic()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the story began."""
        return time.monotonic() - self._began_s

    def step(self, title: str, command: str | None = None) -> None:
        """Begin the next step; ``command`` is what a person would type for it."""
        self._number += 1
        head = f"{self._number}/{STEPS}  {title}"
        self._write(f"\n\033[1m{head}\033[0m" if self._bold else f"\n{head}")
        if command is not None:
            self._write(f"     $ {command}")

    def say(self, text: str) -> None:
        """A line within the step."""
        self._write(f"     {text}")

    def live(self, text: str) -> None:
        """What is going on now: replaces itself on a terminal, and is a line every few seconds elsewhere."""
        if self._is_terminal:
            self.stream.write(f"\r\033[K     {text}")
            self.stream.flush()
            self._is_live = True
        elif time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + LINE_EVERY_S
            self._write(f"     {text}")

    def _write(self, line: str) -> None:
        if self._is_live:
            self.stream.write("\r\033[K")
            self._is_live = False
        self.stream.write(line + "\n")
        self.stream.flush()
