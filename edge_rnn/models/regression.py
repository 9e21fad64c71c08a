"""The regression head: real values a step, in the target's own units."""

from __future__ import annotations

from torch import Tensor, nn

from edge_rnn.models.scaler import Scaler


def regression_head(hidden: int, outputs: int) -> tuple[nn.Linear, Scaler]:
    """``[..., hidden] -> [..., outputs]`` and the scaler that brings it to the target's units."""
    return nn.Linear(hidden, outputs), Scaler(outputs, inverse=True)


def squared_error(y: Tensor, target: Tensor, std: Tensor) -> Tensor:
    """Mean squared error of ``y`` and ``target: float32[..., outputs]`` in units of ``std: float32[outputs]``.

    Divided by ``std``, the loss and so the learning rate do not depend on the target's units.
    """
    return (((y - target) / std) ** 2).mean()
