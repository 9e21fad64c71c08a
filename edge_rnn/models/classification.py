"""The classification head: one logit a class and a step."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import cross_entropy


def classification_head(hidden: int, classes: int) -> nn.Linear:
    """``[..., hidden] -> [..., classes]`` logits."""
    return nn.Linear(hidden, classes)


def class_error(logits: Tensor, target: Tensor) -> Tensor:
    """Mean cross entropy of ``logits: float32[..., class]`` and class numbers ``target: int64[...]``, in nats."""
    return cross_entropy(logits.flatten(0, -2), target.flatten())
