"""Truncated backpropagation through time: the state is carried on, the gradient is cut.

R. J. Williams, J. Peng, "An efficient gradient-based algorithm for on-line training of recurrent
network trajectories", Neural Computation 2 (1990).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edge_rnn.models.sequence import State, detach
from edge_rnn.training.data import Sequences, within


@dataclass(frozen=True)
class Chunk:
    """One stretch of the sequences with the gradient graph of that stretch alone.

    ``y`` and ``target`` are ``[time, batch, ...]``; of sequences of unequal length, or under
    ``last_only``, they hold the steps that count, ``[1, n, ...]``. ``state`` is the state after the
    stretch, ``start`` its first step.
    """

    start: int
    y: Tensor
    target: Tensor
    state: State


def chunks(model: nn.Module, sequences: Sequences, length: int, *, last_only: bool = False) -> Iterator[Chunk]:
    """Run ``sequences`` through ``model`` in stretches of ``length`` steps.

    Each begins with the state that the one before ended with, detached, so a loss on one stretch
    has no gradient in earlier ones; the first begins with what the model's ``prompt`` makes of the
    prompt, if there is one. With ``last_only`` (many-to-one) only stretches that hold the last
    step of some sequence are given, with those steps alone; the others run without a gradient
    graph. The weights may be changed between two stretches.
    """
    state = first_state(model, sequences)
    for start in range(0, sequences.steps, length):
        end = min(start + length, sequences.steps)
        wanted = _wanted(sequences, start, end, last_only=last_only)
        counts = bool(wanted.any())
        with torch.set_grad_enabled(torch.is_grad_enabled() and counts):
            y, new = model(sequences.x[start:end], state)
        target = sequences.target[start:end]
        if bool(wanted.all()):
            yield Chunk(start, y, target, new)
        elif counts:
            yield Chunk(start, y[wanted][None], target[wanted][None], new)
        state = detach(new)


def first_state(model: nn.Module, sequences: Sequences) -> State | None:
    """The state before the first step: that of the model's ``prompt``, or none. Its gradient graph reaches the encoder."""
    if sequences.prompt is None:
        return None
    encode: Callable[[Tensor, Tensor], State] = model.prompt  # type: ignore[assignment]
    return encode(sequences.prompt.tokens, sequences.prompt.lengths)


def _wanted(sequences: Sequences, start: int, end: int, *, last_only: bool) -> Tensor:
    """``bool[end - start, batch]``: the steps that a loss is taken of."""
    lengths = sequences.lengths
    if lengths is None:
        lengths = torch.full((sequences.count,), sequences.steps)
    if last_only:
        return torch.arange(start, end)[:, None] == lengths - 1
    return within(lengths, start, end)
