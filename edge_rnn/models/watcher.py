"""A forecaster that watches its own forecasts: how far is a step from what the steps before let expect?

P. Malhotra et al., "Long short term memory networks for anomaly detection in time series" (2015):
a network that was trained on normal data alone forecasts the next step; its error is the score.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from edge_rnn.models.scaler import Scaler
from edge_rnn.models.sequence import SequenceModel, State

NEXT = "watch.next"
"""The state that holds the forecast of the next step, standardised: a fresh stream expects the mean."""

LABELS = ("normal", "anomaly")


class Watcher(SequenceModel):
    """Until `calibrate` a forecaster of its own next input; from then on a classifier of each step.

    The score is the forecast's error, root mean square over the features in standard deviations,
    divided by ``spread``, its usual size; the logits are ``(0, score - threshold)``, so that a step
    is an anomaly when its score is above the threshold.
    """

    spread: Tensor
    threshold: Tensor
    calibrated: Tensor

    def __init__(self, **parts: Any) -> None:
        """Takes what `SequenceModel` takes for a regression of its own inputs."""
        super().__init__(**{**parts, "task": "classification", "labels": LABELS})
        self.register_buffer("spread", torch.ones(()))
        self.register_buffer("threshold", torch.zeros(()))
        self.register_buffer("calibrated", torch.zeros((), dtype=torch.bool))

    @property
    def state_names(self) -> tuple[str, ...]:
        """Those of the layers, and the forecast."""
        return (*super().state_names, NEXT)

    def initial_state(self, batch: int) -> State:
        """Zeros: the forecast of a fresh stream is the mean."""
        return {**super().initial_state(batch), NEXT: self.head.weight.new_zeros(1, batch, self.head.out_features)}

    def forward(self, x: Tensor, state: State | None = None, lengths: Tensor | None = None) -> tuple[Tensor, State]:
        """``x: float32[time, batch, feature]`` to the next step's forecast or, once calibrated, to two logits."""
        assert isinstance(self.output_scaler, Scaler)
        state = self.initial_state(x.shape[1]) if state is None else state
        y, new = super().forward(x, state, lengths)
        forecasts = torch.cat([state[NEXT], (y - self.output_scaler.mean) / self.output_scaler.std])
        new[NEXT] = forecasts[-1:]
        if not self.calibrated:
            return y, new
        error = ((self._read(x) - forecasts[:-1]) ** 2).mean(-1, keepdim=True).sqrt()
        score = error / self.spread - self.threshold
        return torch.cat([torch.zeros_like(score), score], dim=-1), new

    def calibrate(self, x: Tensor, *, skip: int = 1) -> None:
        """Set spread and threshold on normal data that it was not trained on, ``x: float32[time, batch, feature]``.

        The threshold is the greatest score seen there; the first ``skip`` steps of each sequence,
        where the state is fresh, are left out.
        """
        self.calibrated.fill_(True)
        self.spread.fill_(1.0)
        self.threshold.fill_(0.0)
        with torch.no_grad():
            errors = self.eval()(x)[0][skip:, :, 1]
        self.spread.copy_(errors.square().mean().sqrt())
        self.threshold.copy_(errors.max() / self.spread)
