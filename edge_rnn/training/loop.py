"""The training loop: shuffled batches, truncated backpropagation, clipping, early stopping."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import msgspec
import torch
from torch import Tensor, nn

from edge_rnn.contract.errors import EdgeRnnError
from edge_rnn.training.checkpoints import Checkpoints, identity_of
from edge_rnn.training.data import Sequences
from edge_rnn.training.early import EarlyStopping
from edge_rnn.training.events import Events
from edge_rnn.training.history import History
from edge_rnn.training.loaders import Loader, batches, carries_state, stretches
from edge_rnn.training.optimisers import make_optimiser
from edge_rnn.training.penalties import penalty
from edge_rnn.training.progress import Progress, Silent
from edge_rnn.training.settings import Settings
from edge_rnn.training.truncated import chunks

Loss = Callable[[Tensor, Tensor], Tensor]
"""``(y, target)`` of some steps to a scalar, the mean over them."""


def fit(
    model: nn.Module,
    train: Sequences | Loader,
    validation: Sequences | Loader,
    loss: Loss,
    settings: Settings | None = None,
    *,
    progress: Progress | None = None,
    folder: Path | str | None = None,
    time_axis: int = 1,
) -> History:
    """Train ``model`` in place and leave it with the weights that did best on ``validation``.

    The parts are `Sequences`, or a data loader of your own each (see ``loaders``; ``time_axis``: where
    the time stands in its tensors, 1 for ``[batch, time, ...]``). With a ``folder`` there are
    checkpoints and TensorBoard's event files in it: the same training, begun again after a kill,
    goes on from the last checkpoint and ends with the same weights.

    Raises `EdgeRnnError` when no epoch gave a finite validation loss, `UsageError` for settings or
    batches that do not go together.
    """
    settings = settings or Settings()
    optimiser = make_optimiser(settings.optimiser, model.parameters(), settings.learning_rate, settings.momentum)
    stopping = EarlyStopping(settings.patience)
    history = History()
    carries = isinstance(train, Sequences) or carries_state(model, train)
    done, checkpoints, events = 0, None, None
    with ExitStack() as stack:
        told = stack.enter_context(progress or Silent())
        if folder is not None:
            identity = identity_of(model, msgspec.json.encode(settings).decode(), _tensors(train, validation))
            checkpoints = Checkpoints(folder, identity, model, optimiser, stopping, history)
            if done := checkpoints.resume():
                told.note(f"resumed after epoch {done}")
            events = stack.enter_context(Events(folder, history))
        for epoch in range(done + 1, settings.epochs + 1):
            if done and (stopping.over(done) or not math.isfinite(history.train[-1])):
                break
            model.train()
            mean, gradient = _epoch(model, train, loss, settings, optimiser, carries=carries, time_axis=time_axis)
            history.train.append(mean)
            history.gradient.append(gradient)
            history.validation.append(
                evaluate(
                    model,
                    validation,
                    loss,
                    last_only=settings.loss_on == "last",
                    chunk=settings.chunk,
                    carries=carries,
                    time_axis=time_axis,
                )
            )
            stopping.observe(epoch, history.validation[-1], model)
            done = epoch
            if events is not None:
                events.epoch()
            told.epoch(epoch, settings.epochs, history.train[-1], history.validation[-1])
            if checkpoints is not None:
                checkpoints.save()
        if checkpoints is not None:
            checkpoints.save(last=True)
    if not math.isfinite(stopping.best_loss):
        raise EdgeRnnError(
            f"training diverged: no epoch of {len(history.train)} gave a finite validation loss;"
            f" lower learning_rate (it is {settings.learning_rate}) or clip_norm (it is {settings.clip_norm})"
        )
    stopping.restore(model)
    model.eval()
    history.best_epoch = stopping.best_epoch
    return history


def evaluate(
    model: nn.Module,
    part: Sequences | Loader,
    loss: Loss,
    *,
    last_only: bool = False,
    chunk: int = 50,
    carries: bool = True,
    time_axis: int = 1,
) -> float:
    """Mean loss without training, of `Sequences` over whole sequences; with ``last_only`` of their last step.

    A loader's batches go through in stretches of ``chunk`` steps if the model ``carries`` its state.
    """
    model.eval()
    with torch.no_grad():
        if isinstance(part, Sequences):
            whole = next(iter(chunks(model, part, part.steps, last_only=last_only)))
            return float(loss(whole.y, whole.target))
        total, weight = 0.0, 0
        for x, target in batches(part, model):
            for y, wanted in stretches(model, x, target, chunk, carries=carries, time_axis=time_axis):
                count = wanted.numel()
                total += float(loss(y, wanted)) * count
                weight += count
    return total / weight


def _epoch(
    model: nn.Module,
    train: Sequences | Loader,
    loss: Loss,
    settings: Settings,
    optimiser: torch.optim.Optimizer,
    *,
    carries: bool,
    time_axis: int,
) -> tuple[float, float]:
    """One pass over the training part: the mean loss over its steps, and the mean norm of the gradients."""
    total, weight, updates = 0.0, 0, 0
    norms = torch.zeros(())
    for y, target, count in _results(model, train, settings, carries=carries, time_axis=time_axis):
        value = loss(y, target)
        optimiser.zero_grad()
        (value + penalty(model, settings.l1, settings.l2)).backward()  # type: ignore[no-untyped-call]
        norms += clip_gradient(model, settings.clip_norm, settings.clip_value).cpu()
        optimiser.step()
        total += float(value.detach()) * count
        weight += count
        updates += 1
    return total / weight, float(norms) / updates


def _results(
    model: nn.Module, train: Sequences | Loader, settings: Settings, *, carries: bool, time_axis: int
) -> Iterator[tuple[Tensor, Tensor, int]]:
    """Outputs, targets and the weight of each stretch of the shuffled training part."""
    if isinstance(train, Sequences):
        for which in torch.split(torch.randperm(train.count), settings.batch):
            for chunk in chunks(model, train.pick(which), settings.chunk, last_only=settings.loss_on == "last"):
                yield chunk.y, chunk.target, chunk.y.shape[0] * chunk.y.shape[1]
        return
    for x, target in batches(train, model):
        for y, wanted in stretches(model, x, target, settings.chunk, carries=carries, time_axis=time_axis):
            yield y, wanted, wanted.numel()


def clip_gradient(model: nn.Module, norm: float, value: float = 0.0) -> Tensor:
    """Bound the gradient: each entry to ``[-value, value]``, then scaled down if its 2-norm is above ``norm``.

    0 leaves it alone. Returns the norm that it had. By value: T. Mikolov, "Statistical language
    models based on neural networks" (2012); by norm: R. Pascanu, T. Mikolov, Y. Bengio, "On the
    difficulty of training recurrent neural networks" (2013).
    """
    weights = [weight for weight in model.parameters() if weight.grad is not None]
    before = nn.utils.get_total_norm([weight.grad for weight in weights if weight.grad is not None])
    if value > 0:
        nn.utils.clip_grad_value_(weights, value)
        if norm > 0:
            nn.utils.clip_grad_norm_(weights, norm)
    elif norm > 0:
        nn.utils.clip_grads_with_norm_(weights, norm, before)
    return before


def _tensors(*parts: Sequences | Loader) -> dict[str, Tensor | None]:
    """The data of the parts that are `Sequences`, by name."""
    found: dict[str, Tensor | None] = {}
    for number, part in enumerate(parts):
        if isinstance(part, Sequences):
            found |= {f"{number}.x": part.x, f"{number}.target": part.target, f"{number}.lengths": part.lengths}
            if part.prompt is not None:
                found[f"{number}.prompt"] = part.prompt.tokens
    return found
