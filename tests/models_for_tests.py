"""Small bundles with random weights, exported for real, once a session."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from edge_rnn.contract.bundle import Bundle
from edge_rnn.models import SequenceModel, build
from exporters.export import export_bundle
from exporters.source import Source


def make_bundle(
    path: Path,
    cell: str = "lstm",
    seed: int = 0,
    change: Callable[[SequenceModel], None] = lambda model: None,
    **arguments: Any,
) -> Bundle:
    """A bundle of a fresh model: 3 features, 8 hidden, 2 outputs unless told otherwise; ``change`` may set weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build(cell, **{"inputs": 3, "hidden": 8, "outputs": 2, **arguments})
    with torch.no_grad():
        change(model)
    return export_bundle(Source(model, path.name, {}), path)
