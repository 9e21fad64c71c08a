"""What is kept of every epoch."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class History:
    """Mean loss of each epoch on both parts (without penalties), and which epoch's weights were kept."""

    train: list[float] = field(default_factory=list)
    validation: list[float] = field(default_factory=list)
    best_epoch: int = 0
    """Counted from 1."""
    gradient: list[float] = field(default_factory=list)
    """Mean norm of each epoch's gradients, before they were clipped."""
