"""Dropout between and inside recurrent layers that keeps one mask along time.

Y. Gal, Z. Ghahramani, "A theoretically grounded application of dropout in recurrent neural
networks" (2016): a unit is dropped for the whole sequence, not for single steps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call


class LockedDropout(nn.Module):
    """Zero units with probability ``p`` and scale the rest by ``1 / (1 - p)``, in training only.

    One mask a sequence and a call: ``[1, batch, feature]``, the same for every step. With truncated
    backpropagation each chunk draws its own.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """``x: float32[time, batch, feature]`` to the same shape."""
        if not self.training or self.p == 0:
            return x
        return x * (torch.rand_like(x[:1]) >= self.p) / (1 - self.p)

    def extra_repr(self) -> str:
        return f"p={self.p}"


def with_inner_dropout(layer: nn.Module, p: float) -> Callable[..., Any]:
    """``layer`` to be called once with units of its recurrent connection zeroed with probability ``p``, the rest scaled up.

    The mask lies on the columns of the recurrent weights: ``float32[width]``.
    """
    if p == 0:
        return layer
    recurrent = {name: w for name, w in layer.named_parameters() if name.startswith(("weight_hh", "weight_yh"))}
    masked = {name: w * (torch.rand(w.shape[1]) >= p) / (1 - p) for name, w in recurrent.items()}
    return lambda *arguments: functional_call(layer, masked, arguments)
