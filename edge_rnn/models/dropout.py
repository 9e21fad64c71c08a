"""Dropout between recurrent layers that keeps one mask along time.

Y. Gal, Z. Ghahramani, "A theoretically grounded application of dropout in recurrent neural
networks" (2016): a unit is dropped for the whole sequence, not for single steps.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


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
