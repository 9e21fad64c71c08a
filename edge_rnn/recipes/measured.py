"""What was measured of the recipes: settings tried on the validation parts, and what the chosen ones reach on the test.

``python -m tests.recipes.choose`` writes the one, ``make recipes`` the other (seeds 0 to 4 in order).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

MEASURED = Path(__file__).with_name("measured.json")
TRIED = Path(__file__).with_name("tried.json")

PARITY = 1e-6
"""The export's bound, per unit of the largest absolute value."""

ROOM = 0.8
"""A candidate may use so much of the bound, as other seeds will differ."""


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """Scores and the baseline in ``measure``; processor ``seconds`` of each training; each export's ``parity``.

    ``settings``: all that it was measured with.
    """

    measure: str
    scores: tuple[float, ...]
    baseline: float
    higher_is_better: bool
    seconds: tuple[float, ...]
    parity: tuple[float, ...]
    settings: dict[str, Any]

    def beats(self, score: float) -> bool:
        """Whether a score is better than the baseline."""
        return score > self.baseline if self.higher_is_better else score < self.baseline


@cache
def all_measured() -> dict[str, Measured]:
    """Every recipe's figures by name."""
    return msgspec.json.decode(MEASURED.read_bytes(), type=dict[str, Measured])


class Tried(msgspec.Struct, frozen=True, kw_only=True):
    """A candidate's settings, its mean validation loss over ``seeds``, its worst parity, processor seconds a training."""

    settings: dict[str, Any]
    validation_loss: float
    parity: float
    seeds: tuple[int, ...]
    seconds: float


def best(tried: Sequence[Tried]) -> Tried:
    """The candidate with the least validation loss among those whose parity holds with `ROOM` (among all, if none's does)."""
    return min([one for one in tried if one.parity <= ROOM * PARITY] or tried, key=lambda one: one.validation_loss)


@cache
def all_tried() -> dict[str, list[Tried]]:
    """Every recipe's candidates by name."""
    return msgspec.json.decode(TRIED.read_bytes(), type=dict[str, list[Tried]])
