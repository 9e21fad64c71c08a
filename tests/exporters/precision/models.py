"""Recurrent modules to convert, and their bundles."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from edge_rnn.contract.bundle import Bundle
from exporters.export import export_bundle
from exporters.source import Source


class Answers(nn.Module):
    """A recurrent layer and a head."""

    def __init__(self, kind: type[nn.RNNBase], hidden: int, features: int = 24, layers: int = 1) -> None:
        super().__init__()
        self.rnn = kind(features, hidden, layers)
        self.head = nn.Linear(hidden, 6)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x)[0])


def fp32_bundle(path: Path, kind: type[nn.RNNBase], hidden: int, features: int = 24, layers: int = 1) -> Bundle:
    """The module with random weights as a bundle in fp32."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        module = Answers(kind, hidden, features, layers).eval()
    return export_bundle(Source(module, "answers", {}), path, tolerance=1e-5)
