"""Truncated backpropagation through time: the state is carried on, the gradient is cut.

R. J. Williams, J. Peng, "An efficient gradient-based algorithm for on-line training of recurrent
network trajectories", Neural Computation 2 (1990).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edge_rnn.models.sequence import State, detach
from edge_rnn.training.data import Sequences


@dataclass(frozen=True)
class Chunk:
    """One stretch of the sequences with the gradient graph of that stretch alone.

    ``y`` and ``target`` are ``[time, batch, ...]``, or only the last step under ``last_only``;
    ``state`` is the state after the stretch, ``start`` its first step.
    """

    start: int
    y: Tensor
    target: Tensor
    state: State


def chunks(model: nn.Module, sequences: Sequences, length: int, *, last_only: bool = False) -> Iterator[Chunk]:
    """Run ``sequences`` through ``model`` in stretches of ``length`` steps.

    Each begins with the state that the one before ended with, detached, so a loss on one stretch
    has no gradient in earlier ones. With ``last_only`` (many-to-one) only the last stretch is
    given, with its last step; those before it run without a gradient graph. The weights may be
    changed between two stretches.
    """
    state: State | None = None
    for start in range(0, sequences.steps, length):
        end = min(start + length, sequences.steps)
        is_last = end == sequences.steps
        with torch.set_grad_enabled(torch.is_grad_enabled() and (is_last or not last_only)):
            y, new = model(sequences.x[start:end], state)
        if not last_only:
            yield Chunk(start, y, sequences.target[start:end], new)
        elif is_last:
            yield Chunk(start, y[-1:], sequences.target[-1:], new)
        state = detach(new)
