"""What is trained on: sequences side by side, of equal length or not, with a target for every step."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Prompt:
    """What an encoder reads before the first step: ``tokens: int64[time, batch]``, ``lengths: int64[batch]``."""

    tokens: Tensor
    lengths: Tensor


@dataclass(frozen=True)
class Sequences:
    """``x: float32[time, batch, feature]``, or tokens ``int64[time, batch]``, and a target for each step.

    ``target`` is ``float32[time, batch, output]`` for a regression and class numbers
    ``int64[time, batch]`` for a classification. ``lengths: int64[batch]`` says how many steps of
    each sequence there are, where they differ: what stands beyond is never looked at. ``prompt`` is
    for an `EncoderDecoder`.
    """

    x: Tensor
    target: Tensor
    lengths: Tensor | None = None
    prompt: Prompt | None = None

    def __post_init__(self) -> None:
        if self.x.shape[:2] != self.target.shape[:2]:
            raise ValueError(f"x has [time, batch] {list(self.x.shape[:2])}, target {list(self.target.shape[:2])}")
        lengths = self.lengths
        if lengths is not None and not (
            lengths.shape == (self.count,) and 0 < lengths.min() <= lengths.max() <= self.steps
        ):
            raise ValueError(f"lengths must be {self.count} numbers from 1 to {self.steps}")

    @property
    def steps(self) -> int:
        """Length of the longest sequence."""
        return self.x.shape[0]

    @property
    def count(self) -> int:
        """How many sequences there are."""
        return self.x.shape[1]

    def rows(self) -> Tensor:
        """All steps that there are, ``[n, ...]``: what a scaler is fitted on."""
        return self.x.flatten(0, 1) if self.lengths is None else self.x[within(self.lengths, 0, self.steps)]

    def target_rows(self) -> Tensor:
        """The targets of all steps that there are, ``[n, ...]``."""
        lengths = self.lengths
        return self.target.flatten(0, 1) if lengths is None else self.target[within(lengths, 0, self.steps)]

    def pick(self, which: Tensor) -> Sequences:
        """The sequences of numbers ``which: int64[n]``, in that order, cut to the longest of them."""
        lengths = None if self.lengths is None else self.lengths[which]
        steps = self.steps if lengths is None else int(lengths.max())
        prompt = self.prompt
        if prompt is not None:
            longest = int(prompt.lengths[which].max())
            prompt = Prompt(prompt.tokens[:longest, which], prompt.lengths[which])
        return Sequences(self.x[:steps, which], self.target[:steps, which], lengths, prompt)


def within(lengths: Tensor, start: int, end: int) -> Tensor:
    """``bool[end - start, batch]``: which of the steps from ``start`` to ``end`` each sequence has."""
    return torch.arange(start, end)[:, None] < lengths
