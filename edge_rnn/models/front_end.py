"""A front end for sound as a module, to train behind and to export with: see `edge_rnn.contract.front_end`."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from edge_rnn.contract.front_end import FrontEnd


class FrontEndModule(nn.Module):
    """``float32[..., window]``, samples in [-1, 1], to ``float32[..., width]``."""

    spectrum: Tensor
    energies: Tensor
    cosines: Tensor

    def __init__(self, front: FrontEnd) -> None:
        super().__init__()
        self.front = front
        self.register_buffer("spectrum", torch.from_numpy(front.spectrum()).float())
        if front.kind != "stft":
            self.register_buffer("energies", torch.from_numpy(front.energies()).float())
        if front.kind == "mfcc":
            self.register_buffer("cosines", torch.from_numpy(front.cosines()).float())

    def forward(self, x: Tensor) -> Tensor:
        """What is heard of each window."""
        both = x @ self.spectrum
        if self.front.kind == "stft":
            return both
        energy = (both * both) @ self.energies
        if self.front.kind == "power":
            return energy
        if self.front.log == "ln":
            heard = torch.log(energy + self.front.floor)
        else:
            heard = torch.log(torch.clamp(energy, min=self.front.floor)) * (10 / math.log(10))
        return heard if self.front.kind == "log-mel" else heard @ self.cosines


class Heard(nn.Module):
    """A module behind a front end: windows of samples in, what the module gives out."""

    def __init__(self, front: FrontEnd, module: nn.Module) -> None:
        super().__init__()
        self.front_end = FrontEndModule(front)
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        """``x: float32[..., window]`` in the module's own order of axes."""
        found: Tensor = self.module(self.front_end(x))
        return found
