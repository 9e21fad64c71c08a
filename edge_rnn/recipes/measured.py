"""What each recipe reached on its test part, seeds 0 to 4 in order; ``make recipes`` measures and writes it."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import msgspec

MEASURED = Path(__file__).with_name("measured.json")


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """Scores and the baseline in ``measure``; ``seconds`` of each training; each export's ``parity``."""

    measure: str
    scores: tuple[float, ...]
    baseline: float
    higher_is_better: bool
    seconds: tuple[float, ...]
    parity: tuple[float, ...]

    def beats(self, score: float) -> bool:
        """Whether a score is better than the baseline."""
        return score > self.baseline if self.higher_is_better else score < self.baseline


@cache
def all_measured() -> dict[str, Measured]:
    """Every recipe's figures by name."""
    return msgspec.json.decode(MEASURED.read_bytes(), type=dict[str, Measured])
