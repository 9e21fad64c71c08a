"""What a model says of a test part, beside what is right: what scores and reports are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from edge_rnn.models import SequenceModel
from edge_rnn.training import Sequences
from edge_rnn.training.report.shown import Scores

SHOWN, WRONG = 6, 2
"""Examples in a report; as many of them at most are ones that the model got wrong, if there are any."""


@dataclass(frozen=True)
class Answers:
    """``said`` and ``truth``: numbers of classes, int64[n], or values, float64[n]."""

    said: np.ndarray
    truth: np.ndarray

    @property
    def accuracy(self) -> float:
        """Share of classes that are right."""
        return float((self.said == self.truth).mean())


def at_the_end(model: SequenceModel, test: Sequences) -> Answers:
    """The class of each sequence at its own last step."""
    y = outputs(model, test)
    ends = torch.full((test.count,), test.steps) if test.lengths is None else test.lengths
    place = (ends - 1, torch.arange(test.count))
    return Answers(y[place].argmax(-1).numpy(), test.target[place].numpy())


def at_every_step(model: SequenceModel, test: Sequences) -> Answers:
    """The class, or the one value, of every step that there is."""
    y, target = outputs(model, test), test.target
    inside = torch.ones(y.shape[:2], dtype=torch.bool)
    if test.lengths is not None:
        inside = torch.arange(test.steps)[:, None] < test.lengths
    if target.is_floating_point():
        return Answers(y[inside][:, 0].double().numpy(), target[inside][:, 0].double().numpy())
    return Answers(y[inside].argmax(-1).numpy(), target[inside].numpy())


def outputs(model: SequenceModel, test: Sequences) -> torch.Tensor:
    """What the model says of each step: ``float32[time, sequence, output]``."""
    with torch.no_grad():
        y: torch.Tensor = model.eval()(test.x)[0]
    return y


def scores_of(model: SequenceModel, name: str, rows: np.ndarray, truth: str | None) -> Scores:
    """One stream ``rows: float32[time, feature]`` and the probability of each class after each step."""
    x = torch.from_numpy(rows)[:, None]
    with torch.no_grad():
        y = model.eval()(x)[0][:, 0].softmax(-1).numpy()
        assert model.scaler is not None
        seen = model.scaler(model.heard(x))[:, 0].numpy()
    return Scores(name, seen, y, model.labels or (), truth)


def chosen_scores(model: SequenceModel, streams: Sequence[tuple[str, np.ndarray, str | None]]) -> list[Scores]:
    """Of these streams some of different labels, among them some that the model got wrong at the end."""
    found = [scores_of(model, *stream) for stream in streams]
    wrong = [one for one in found if one.truth is not None and not one.right][:WRONG]
    others: dict[str | None, list[Scores]] = {}
    for one in found:
        if one not in wrong:
            others.setdefault(one.truth, []).append(one)
    rounds = max(map(len, others.values()), default=0)
    mixed = [one[i] for i in range(rounds) for one in others.values() if i < len(one)]
    return [*mixed[: SHOWN - len(wrong)], *wrong]
