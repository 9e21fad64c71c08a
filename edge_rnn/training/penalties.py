"""L1 and L2 penalties on the weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def penalty(model: nn.Module, l1: float, l2: float) -> Tensor:
    """``l1 * sum |w| + l2 * sum w^2`` over all weights, a scalar that joins the loss.

    Biases are left out: they set where a unit switches, not how strongly inputs act. Penalties of
    zero cost nothing.
    """
    weights = [parameter for name, parameter in model.named_parameters() if "bias" not in name.rpartition(".")[2]]
    total = torch.zeros(())
    if l1:
        total = total + l1 * torch.stack([weight.abs().sum() for weight in weights]).sum()
    if l2:
        total = total + l2 * torch.stack([weight.square().sum() for weight in weights]).sum()
    return total
