"""The training loop: shuffled batches, truncated backpropagation, clipping, early stopping."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from edge_rnn.contract.errors import EdgeRnnError
from edge_rnn.training.data import Sequences
from edge_rnn.training.early import EarlyStopping
from edge_rnn.training.optimisers import make_optimiser
from edge_rnn.training.penalties import penalty
from edge_rnn.training.progress import Progress, Silent
from edge_rnn.training.settings import Settings
from edge_rnn.training.truncated import chunks

Loss = Callable[[Tensor, Tensor], Tensor]
"""``(y, target)`` of some steps to a scalar, the mean over them."""


@dataclass
class History:
    """Mean loss of each epoch on both parts (without penalties), and which epoch's weights were kept."""

    train: list[float] = field(default_factory=list)
    validation: list[float] = field(default_factory=list)
    best_epoch: int = 0
    """Counted from 1."""


def fit(
    model: nn.Module,
    train: Sequences,
    validation: Sequences,
    loss: Loss,
    settings: Settings,
    *,
    progress: Progress | None = None,
) -> History:
    """Train ``model`` in place and leave it with the weights that did best on ``validation``.

    Raises `EdgeRnnError` when no epoch gave a finite validation loss, `UsageError` for settings
    that do not go together.
    """
    optimiser = make_optimiser(settings.optimiser, model.parameters(), settings.learning_rate, settings.momentum)
    last_only = settings.loss_on == "last"
    stopping = EarlyStopping(settings.patience)
    history = History()
    with progress or Silent() as told:
        for epoch in range(1, settings.epochs + 1):
            model.train()
            history.train.append(_epoch(model, train, loss, settings, optimiser))
            history.validation.append(evaluate(model, validation, loss, last_only=last_only))
            told.epoch(epoch, settings.epochs, history.train[-1], history.validation[-1])
            diverged = not math.isfinite(history.train[-1])
            if stopping.observe(epoch, history.validation[-1], model) or diverged:
                break
    if not math.isfinite(stopping.best_loss):
        raise EdgeRnnError(
            f"training diverged: no epoch of {len(history.train)} gave a finite validation loss;"
            f" lower learning_rate (it is {settings.learning_rate}) or clip_norm (it is {settings.clip_norm})"
        )
    stopping.restore(model)
    model.eval()
    history.best_epoch = stopping.best_epoch
    return history


def evaluate(model: nn.Module, sequences: Sequences, loss: Loss, *, last_only: bool = False) -> float:
    """Mean loss over whole sequences without training; with ``last_only`` of their last step."""
    model.eval()
    with torch.no_grad():
        whole = next(iter(chunks(model, sequences, sequences.steps, last_only=last_only)))
        return float(loss(whole.y, whole.target))


def _epoch(
    model: nn.Module, train: Sequences, loss: Loss, settings: Settings, optimiser: torch.optim.Optimizer
) -> float:
    """One pass over the training part; returns the mean loss over its steps."""
    total, weight = 0.0, 0
    for batch in _shuffled(train, settings.batch):
        for chunk in chunks(model, batch, settings.chunk, last_only=settings.loss_on == "last"):
            value = loss(chunk.y, chunk.target)
            optimiser.zero_grad()
            (value + penalty(model, settings.l1, settings.l2)).backward()  # type: ignore[no-untyped-call]
            clip_gradient(model, settings.clip_norm, settings.clip_value)
            optimiser.step()
            steps = chunk.y.shape[0] * chunk.y.shape[1]
            total += float(value.detach()) * steps
            weight += steps
    return total / weight


def clip_gradient(model: nn.Module, norm: float, value: float = 0.0) -> None:
    """Bound the gradient: each entry to ``[-value, value]``, then scaled down if its 2-norm is above ``norm``.

    0 leaves it alone. By value: T. Mikolov, "Statistical language models based on neural networks"
    (2012); by norm: R. Pascanu, T. Mikolov, Y. Bengio, "On the difficulty of training recurrent
    neural networks" (2013).
    """
    if value > 0:
        nn.utils.clip_grad_value_(model.parameters(), value)
    if norm > 0:
        nn.utils.clip_grad_norm_(model.parameters(), norm)


def _shuffled(sequences: Sequences, batch: int) -> Iterator[Sequences]:
    for which in torch.split(torch.randperm(sequences.count), batch):
        yield sequences.pick(which)
