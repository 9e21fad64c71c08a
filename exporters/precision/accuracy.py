"""What a lower precision does to the answers of the main output."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edge_rnn.contract.accuracy import AccuracyFigure
from edge_rnn.contract.signature import OutputSpec

EVEN = 0.5
"""A probability that stands alone decides at this value."""


def measure_accuracy(spec: OutputSpec, found: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> AccuracyFigure:
    """Compare runs ``[time, batch, *row]`` with those in fp32; see `AccuracyFigure`."""
    pairs = [
        (a.reshape(-1, spec.width).astype(np.float64), b.reshape(-1, spec.width).astype(np.float64))
        for a, b in zip(found, expected, strict=True)
    ]
    value, reference = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
    difference = value - reference
    rms = float(np.sqrt(np.mean(difference**2)))
    if spec.kind == "values":
        spread = float(reference.std())
        drop = rms / spread if spread > 0 else rms
    else:
        drop = float(np.mean(_decisions(spec, value) != _decisions(spec, reference)))
    return AccuracyFigure(drop=drop, max_abs_error=float(np.abs(difference).max()), rms_error=rms, steps=len(value))


def _decisions(spec: OutputSpec, value: np.ndarray) -> np.ndarray:
    """The decision of each step: the class with the highest score, or which side a lone score falls on."""
    if spec.width > 1:
        return np.asarray(value.argmax(axis=1))
    return np.asarray(value[:, 0] > (EVEN if spec.kind == "probabilities" else 0.0))
