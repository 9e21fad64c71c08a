"""Sound as a picture of its pitches, inside the model: windows of samples in, log-mel energies out.

S. Davis, P. Mermelstein, "Comparison of parametric representations for monosyllabic word
recognition" (1980); the mel scale is 2595 log10(1 + f / 700). The Fourier transform of a window is
a product with a fixed matrix, so that the graph needs nothing but products and a logarithm.
"""

from __future__ import annotations

import math

import msgspec
import torch
from torch import Tensor, nn


class LogMelArguments(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``window`` samples a step at ``rate`` hertz become ``bands`` energies from ``lowest`` hertz to half the rate."""

    rate: int
    window: int
    bands: int = 24
    lowest: float = 60.0


class LogMel(nn.Module):
    """``float32[..., window]`` to ``float32[..., bands]``: log(mel energies + `FLOOR`)."""

    FLOOR = 1e-2

    spectrum: Tensor
    mel: Tensor

    def __init__(self, arguments: LogMelArguments) -> None:
        super().__init__()
        window, rate = arguments.window, arguments.rate
        bins = window // 2 + 1
        step = torch.arange(window, dtype=torch.float64)
        angle = 2 * math.pi * step[:, None] * torch.arange(bins, dtype=torch.float64) / window
        hann = (0.5 - 0.5 * torch.cos(2 * math.pi * step / window))[:, None]
        self.register_buffer("spectrum", torch.cat([hann * angle.cos(), hann * angle.sin()], dim=1).float())
        bank = mel_bank(arguments.bands, bins, rate, arguments.lowest)
        self.register_buffer("mel", torch.cat([bank, bank]).float())

    def forward(self, x: Tensor) -> Tensor:
        """Samples in [-1, 1] of each step's window."""
        both = x @ self.spectrum
        return torch.log((both * both) @ self.mel + self.FLOOR)


def mel_bank(bands: int, bins: int, rate: int, lowest: float) -> Tensor:
    """Triangles that overlap by half, evenly spaced in mel: ``float64[bins, bands]``."""
    ends = 2595 * torch.log10(1 + torch.tensor([lowest, rate / 2], dtype=torch.float64) / 700)
    middles = 700 * (10 ** (torch.linspace(float(ends[0]), float(ends[1]), bands + 2, dtype=torch.float64) / 2595) - 1)
    pitch = torch.linspace(0, rate / 2, bins, dtype=torch.float64)[:, None]
    rising = (pitch - middles[:-2]) / (middles[1:-1] - middles[:-2])
    falling = (middles[2:] - pitch) / (middles[2:] - middles[1:-1])
    return torch.minimum(rising, falling).clamp(min=0)
