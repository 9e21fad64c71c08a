"""What is trained on: sequences side by side, with a target for every step."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Sequences:
    """``x: float32[time, batch, feature]`` and a target for each step.

    ``target`` is ``float32[time, batch, output]`` for a regression and class numbers
    ``int64[time, batch]`` for a classification.
    """

    x: Tensor
    target: Tensor

    def __post_init__(self) -> None:
        if self.x.shape[:2] != self.target.shape[:2]:
            raise ValueError(f"x has [time, batch] {list(self.x.shape[:2])}, target {list(self.target.shape[:2])}")

    @property
    def steps(self) -> int:
        """Length of the sequences."""
        return self.x.shape[0]

    @property
    def count(self) -> int:
        """How many sequences there are."""
        return self.x.shape[1]

    def pick(self, which: Tensor) -> Sequences:
        """The sequences of numbers ``which: int64[n]``, in that order."""
        return Sequences(self.x[:, which], self.target[:, which])
