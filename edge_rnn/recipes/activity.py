"""What is the wearer doing? Four activities from a smart watch, said anew at every step.

Data: BasicMotions, from the UEA multivariate time series classification archive (A. Bagnall et
al., "The UEA multivariate time series classification archive, 2018"), as shipped inside the
package aeon. Four students wore a watch; accelerometer and gyroscope, three axes each, ten samples
a second, ten seconds a recording; 40 recordings to train, 40 to test.

The score is the test accuracy at a recording's last step, beside that of the nearest training
recording by Euclidean distance. The settings were chosen by the validation loss.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch

from edge_rnn.contract.errors import EdgeRnnError
from edge_rnn.models import SequenceModel
from edge_rnn.models.classification import class_error
from edge_rnn.recipes.answers import Answers, at_the_end, chosen_scores
from edge_rnn.recipes.packaged import packaged_file
from edge_rnn.recipes.recipe import Parts, Recipe, Score, Stream
from edge_rnn.training import Sequences, Settings
from edge_rnn.training.report.shown import Example

FEATURES = ("accel_x", "accel_y", "accel_z", "gyro_x", "gyro_y", "gyro_z")
LABELS = ("standing", "running", "walking", "badminton")
VALIDATION_PER_CLASS = 3
"""Of the ten training recordings of each activity, the last ones are kept for early stopping."""


@cache
def recordings(part: str) -> tuple[np.ndarray, np.ndarray]:
    """``part`` (``TRAIN`` or ``TEST``) as ``x: float32[recording, time, feature]``, ``label: int64[recording]``.

    A line of the file holds six series of comma-separated numbers and the activity, separated by
    colons. Raises `EdgeRnnError` when the file reads otherwise.
    """
    path = packaged_file("aeon", "datasets", "data", "BasicMotions", f"BasicMotions_{part}.ts")
    rows, labels = [], []
    try:
        for line in path.read_text().partition("@data")[2].split():
            *series, label = line.split(":")
            rows.append(np.array([[float(text) for text in one.split(",")] for one in series], np.float32).T)
            labels.append(LABELS.index(label.lower()))
        x = np.stack(rows)
    except ValueError as error:
        raise EdgeRnnError(f"{path} cannot be read: {error}; install aeon again") from error
    if x.shape[2] != len(FEATURES):
        raise EdgeRnnError(f"{path} has {x.shape[2]} channels, expected {len(FEATURES)}; install aeon again")
    return x, np.array(labels, np.int64)


def _sequences(x: np.ndarray, labels: np.ndarray) -> Sequences:
    """Every step of a recording has the recording's label: many to many."""
    target = torch.from_numpy(labels).expand(x.shape[1], -1)
    return Sequences(torch.from_numpy(x).transpose(0, 1).contiguous(), target)


def load() -> Parts:
    """Training and validation recordings, both out of the archive's training part."""
    x, labels = recordings("TRAIN")
    held = np.zeros(len(labels), bool)
    for number in range(len(LABELS)):
        held[np.flatnonzero(labels == number)[-VALIDATION_PER_CLASS:]] = True
    return Parts(_sequences(x[~held], labels[~held]), _sequences(x[held], labels[held]))


def answers(model: SequenceModel) -> Answers:
    """What is said at the end of each test recording."""
    return at_the_end(model, _sequences(*recordings("TEST")))


def score(model: SequenceModel) -> Score:
    """Share of test recordings that are named rightly at their last step, each a stream of its own."""
    return Score("accuracy", answers(model).accuracy, nearest_neighbour(), higher_is_better=True)


def examples(model: SequenceModel) -> list[Example]:
    """Some of the streams."""
    return [*chosen_scores(model, streams())]


def nearest_neighbour() -> float:
    """The baseline's test accuracy: the label of the nearest training recording by Euclidean distance."""
    x, labels = recordings("TRAIN")
    test, truth = recordings("TEST")
    distance = ((test[:, None] - x[None]) ** 2).sum((2, 3))
    return float((labels[distance.argmin(1)] == truth).mean())


def streams() -> list[Stream]:
    """The 40 test recordings, keyed ``watch-00`` to ``watch-39``."""
    x, labels = recordings("TEST")
    return [
        Stream(f"watch-{i:02d}", rows, LABELS[label]) for i, (rows, label) in enumerate(zip(x, labels, strict=True))
    ]


RECIPE = Recipe(
    name="activity",
    purpose="tell standing, walking, running and badminton apart from a smart watch's six channels",
    source="BasicMotions of the UEA multivariate archive, as shipped in the package aeon",
    licence="BSD-3-Clause (package aeon, which ships the file); the file itself states no licence",
    baseline="nearest training recording by Euclidean distance over all ten seconds",
    task="classification",
    features=FEATURES,
    labels=LABELS,
    settings=Settings(
        cell="gru", hidden=32, layers=2, dropout=0.3, l2=0.0001, chunk=10, batch=8, learning_rate=0.005, epochs=60
    ),
    load=load,
    loss=lambda _: class_error,
    score=score,
    answers=answers,
    examples=examples,
    streams=streams,
)
