"""Batches of the user's own: a `torch.utils.data.DataLoader`, or anything else that gives ``(x, target)``.

A module whose result is a pair, as ``torch.nn.LSTM``'s is, carries its state: it is called as
``module(x, state)`` on stretches along time, the state is handed on and its gradient cut. A module
that gives ``y`` alone sees whole sequences. A target without a time axis belongs to the whole
sequence, of which then no stretches are made either.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from edge_rnn.contract.errors import UsageError

Loader = Iterable[tuple[Tensor, Tensor]]


def carries_state(model: nn.Module, loader: Loader) -> bool:
    """Whether ``model`` gives ``(y, state)``, as one call on the loader's first batch tells.

    The call leaves no trace in weights, statistics or random generators. Raises `UsageError` when
    the loader gives nothing, or something else than pairs of tensors.
    """
    was_training = model.training
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        for x, _ in islice(batches(loader, model), 1):
            result = model.eval()(x)
            model.train(was_training)
            return isinstance(result, tuple) and len(result) == 2
    raise UsageError("the data loader gives no batch; give one with at least one pair (x, target)")


def batches(loader: Loader, model: nn.Module) -> Iterator[tuple[Tensor, Tensor]]:
    """The pairs, where the model's weights are. Raises `UsageError` for a batch that is no pair of tensors."""
    device = next((weight.device for weight in model.parameters()), torch.device("cpu"))
    for batch in loader:
        if not isinstance(batch, (tuple, list)) or len(batch) != 2 or not all(isinstance(t, Tensor) for t in batch):
            found = (
                f"{type(batch).__name__} of {len(batch)}" if isinstance(batch, (tuple, list)) else type(batch).__name__
            )
            raise UsageError(f"the data loader gives a {found}, expected a pair of tensors (x, target)")
        yield batch[0].to(device), batch[1].to(device)


def stretches(
    model: nn.Module, x: Tensor, target: Tensor, length: int, *, carries: bool, time_axis: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Outputs and targets of one batch, stretch after stretch of ``length`` steps along ``time_axis`` (0 or 1).

    The weights may be changed between two stretches.
    """
    steps = x.shape[time_axis]
    if not carries or target.shape[:2] != x.shape[:2]:
        result = model(x)
        yield (result[0] if carries else result), target
        return
    state = None
    for start in range(0, steps, length):
        size = min(length, steps - start)
        part = x.narrow(time_axis, start, size)
        y, state = model(part) if state is None else model(part, state)
        yield y, target.narrow(time_axis, start, size)
        state = cut(state)


def cut(state: Any) -> Any:
    """The same state, however it is nested in tuples, lists and dicts, without the graph that computed it."""
    if isinstance(state, Tensor):
        return state.detach()
    if isinstance(state, dict):
        return {name: cut(part) for name, part in state.items()}
    if isinstance(state, (tuple, list)):
        parts = [cut(part) for part in state]
        return type(state)(*parts) if hasattr(state, "_fields") else type(state)(parts)
    return state
