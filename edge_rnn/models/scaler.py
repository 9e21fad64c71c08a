"""Standardisation as part of the model, so that the exported graph takes and gives physical units."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Scaler(nn.Module):
    """``y = (x - mean) / std`` along the last axis, or its inverse ``y = x * std + mean``.

    ``mean`` and ``std`` are buffers, ``float32[width]``: saved with the weights, never trained. A
    fresh scaler is the identity until `fit`.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, width: int, *, inverse: bool = False) -> None:
        """Make an identity scaler of ``width`` entries; ``inverse`` for the output side."""
        super().__init__()
        self.inverse = inverse
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("std", torch.ones(width))

    def fit(self, values: Tensor) -> None:
        """Take mean and standard deviation of ``values: float32[..., width]``.

        Give it the training part only. An entry that never changes gets ``std`` 1.
        """
        rows = values.reshape(-1, values.shape[-1]).double()
        std, mean = torch.std_mean(rows, dim=0, correction=0)
        self.mean.copy_(mean)
        self.std.copy_(torch.where(std > 1e-8, std, torch.ones_like(std)))

    def forward(self, x: Tensor) -> Tensor:
        """``x: float32[..., width]`` to the same shape."""
        if self.inverse:
            return x * self.std + self.mean
        return (x - self.mean) / self.std

    def extra_repr(self) -> str:
        return f"{self.mean.shape[0]}, inverse={self.inverse}"
