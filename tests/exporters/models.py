"""Every cell, stacked and not, with either head: small, of odd widths, with a scaler that was fitted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from edge_rnn.models import SequenceModel, build
from exporters.source import Source

CELLS: dict[str, tuple[str, dict[str, Any]]] = {
    "elman-tanh": ("elman", {"activation": "tanh"}),
    "elman-relu": ("elman", {"activation": "relu"}),
    "elman-sigmoid": ("elman", {"activation": "sigmoid"}),
    "jordan-tanh": ("jordan", {"activation": "tanh"}),
    "jordan-relu": ("jordan", {"activation": "relu"}),
    "jordan-sigmoid": ("jordan", {"activation": "sigmoid"}),
    "lstm": ("lstm", {}),
    "gru": ("gru", {}),
}
"""Name to what `build` takes."""

TASKS = ("regression", "classification")
LAYERS = (1, 2)
LABELS = ("rest", "walk", "run")


@dataclass(frozen=True)
class Case:
    """One model of the sweep."""

    cell: str
    layers: int
    task: str

    @property
    def name(self) -> str:
        """For parametrised tests and the table."""
        return f"{self.cell}-x{self.layers}-{self.task}"

    def make(self, *, hidden: int = 13, seed: int = 0) -> SequenceModel:
        """A model with random weights and dropout between its layers; 5 inputs, 3 outputs."""
        kind, arguments = CELLS[self.cell]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = build(
                kind,
                inputs=5,
                outputs=3,
                hidden=hidden,
                layers=self.layers,
                dropout=0.3 if self.layers > 1 else 0.0,
                task=self.task,
                features=("ax", "ay", "az", "gx", "gy"),
                labels=LABELS if self.task == "classification" else None,
                **arguments,
            )
            model.scaler.fit(3 * torch.randn(100, 5) + 7)
            if model.output_scaler is not None:
                model.output_scaler.fit(40 * torch.randn(100, 3) - 20)
        return model


CASES = [Case(cell, layers, task) for cell in CELLS for layers in LAYERS for task in TASKS]


def source(case: Case, **arguments: Any) -> Source:
    """A model of the sweep as the exporter takes it."""
    return Source(case.make(**arguments), case.name, {})
