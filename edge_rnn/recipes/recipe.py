"""What a recipe is: data, model, loss and score of one task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from edge_rnn.contract.signature import GenerationSpec
from edge_rnn.models import LogMelArguments, SequenceModel, Task
from edge_rnn.recipes.answers import Answers
from edge_rnn.training import Sequences, Settings
from edge_rnn.training.loop import Loss
from edge_rnn.training.report.shown import Example


class Stream(NamedTuple):
    """A held-out sequence to play as a live stream: ``rows: float32[time, feature]``; ``label`` if it has one.

    Tokens are rows of one whole number, ``int64[time, 1]``.
    """

    key: str
    rows: np.ndarray
    label: str | None


@dataclass(frozen=True)
class Parts:
    """What a model is trained on and stopped by. The test part is only in ``Recipe.score`` and ``Recipe.streams``."""

    train: Sequences
    validation: Sequences


@dataclass(frozen=True)
class Score:
    """``value`` on the held-out test part beside the ``baseline``'s, both in ``measure``."""

    measure: str
    value: float
    baseline: float
    higher_is_better: bool

    @property
    def beats_baseline(self) -> bool:
        """Whether the model did better than the baseline."""
        return self.value > self.baseline if self.higher_is_better else self.value < self.baseline

    def __str__(self) -> str:
        verdict = "better" if self.beats_baseline else "not better"
        return f"{self.measure} {self.value:.3f}, baseline {self.baseline:.3f} ({verdict})"


@dataclass(frozen=True)
class Recipe:
    """One task. ``load`` reads no more than its package's files; nothing is downloaded.

    ``loss`` makes the loss of a fitted model (a regression weighs by its output scaler);
    ``score`` measures on the test part, ``answers`` and ``examples`` show it in the report, and
    ``streams`` gives it as live streams; ``unit`` is that of a regression's values. With a
    ``vocabulary`` the one feature is a token; a model that makes text has ``generation``, and one
    with an encoder a ``prompt_vocabulary``. ``watch``: the model is a `Watcher`, calibrated on the
    validation part. ``prompts`` gives some that were held out. ``gated``: the recipe must beat its baseline.
    """

    name: str
    purpose: str
    source: str
    licence: str
    baseline: str
    task: Task
    features: tuple[str, ...]
    labels: tuple[str, ...]
    settings: Settings
    load: Callable[[], Parts]
    loss: Callable[[SequenceModel], Loss]
    score: Callable[[SequenceModel], Score]
    answers: Callable[[SequenceModel], Answers]
    examples: Callable[[SequenceModel], list[Example]]
    streams: Callable[[], list[Stream]]
    vocabulary: tuple[str, ...] | None = None
    prompt_vocabulary: tuple[str, ...] | None = None
    generation: GenerationSpec | None = None
    watch: bool = False
    log_mel: LogMelArguments | None = None
    gated: bool = True
    prompts: Callable[[], list[str]] = list
    unit: str = ""
