"""Sequences of unequal length side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from edge_rnn.training import Sequences


def pad(values: Sequence[np.ndarray]) -> Tensor:
    """``[time, ...]`` arrays to ``[longest, n, ...]``, zeros behind each one's end."""
    padded = np.zeros((max(map(len, values)), len(values), *values[0].shape[1:]), values[0].dtype)
    for i, value in enumerate(values):
        padded[: len(value), i] = value
    return torch.from_numpy(padded)


def side_by_side(xs: Sequence[np.ndarray], targets: Sequence[np.ndarray]) -> Sequences:
    """Sequences ``[time, ...]`` with a target for every step, of unequal length."""
    return Sequences(pad(xs), pad(targets), torch.tensor([len(x) for x in xs]))
