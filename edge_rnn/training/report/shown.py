"""Examples that a report shows, as values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Scores:
    """A stream and what was said after each of its steps.

    ``rows: float32[time, feature]`` as the network sees them (standardised), ``probabilities:
    float32[time, class]``; ``truth`` is the label of the whole, ``marked: bool[time]`` the steps
    of the last class, where steps have labels of their own.
    """

    name: str
    rows: np.ndarray
    probabilities: np.ndarray
    labels: tuple[str, ...]
    truth: str | None = None
    marked: np.ndarray | None = None

    @property
    def said(self) -> str:
        """The label at the end."""
        return self.labels[int(self.probabilities[-1].argmax())]

    @property
    def right(self) -> bool:
        """Whether the label at the end is the true one."""
        return self.said == self.truth


@dataclass(frozen=True, eq=False)
class Forecast:
    """Values over time, ``said`` and ``truth: float64[time]``, in ``unit``."""

    name: str
    said: np.ndarray
    truth: np.ndarray
    unit: str


@dataclass(frozen=True)
class Words:
    """A text word by word, what was ``said`` after each word and, where each has one, the ``truth``."""

    words: tuple[str, ...]
    said: tuple[str, ...]
    truth: tuple[str, ...] | None = None
    label: str | None = None


@dataclass(frozen=True)
class Reply:
    """A prompt, what the model made of it, and what was right, where something is."""

    prompt: str
    said: str
    truth: str | None = None


Example = Scores | Forecast | Words | Reply
