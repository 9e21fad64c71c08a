"""Early stopping: keep the weights that did best on the validation part, stop when none better come."""

from __future__ import annotations

import copy
import math
from typing import Any

from torch import Tensor, nn


class EarlyStopping:
    """Watches the validation loss.

    L. Prechelt, "Early stopping - but when?" (1998): stop after ``patience`` epochs without a new
    minimum, and go back to it.
    """

    def __init__(self, patience: int) -> None:
        self.patience = patience
        self.best_loss = math.inf
        self.best_epoch = 0
        self._weights: dict[str, Tensor] | None = None

    def observe(self, epoch: int, loss: float, model: nn.Module) -> bool:
        """Take one epoch's validation loss; ``True`` when training should stop. A loss that is not finite is no best."""
        if loss < self.best_loss:
            self.best_loss, self.best_epoch = loss, epoch
            self._weights = copy.deepcopy(model.state_dict())
        return self.over(epoch)

    def over(self, epoch: int) -> bool:
        """Whether training should stop after ``epoch``."""
        return epoch - self.best_epoch >= self.patience

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"best_loss": self.best_loss, "best_epoch": self.best_epoch, "weights": self._weights}

    def load(self, state: dict[str, Any]) -> None:
        """The inverse of `state`."""
        self.best_loss, self.best_epoch, self._weights = state["best_loss"], state["best_epoch"], state["weights"]

    def restore(self, model: nn.Module) -> None:
        """Put the best weights back into ``model``; without any, leave it as it is."""
        if self._weights is not None:
            model.load_state_dict(self._weights)
