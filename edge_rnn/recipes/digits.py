"""Which digit is it? An image read row by row, eight pixels a step.

Data: 1,797 handwritten digits of 8 by 8 pixels (E. Alpaydin, C. Kaynak, 1998; UCI), as shipped inside
the package scikit-learn. The file keeps the writers' order, so it is split by place: the first 60 %
to train, the next 15 % for early stopping, the last 25 %, mostly other writers, to test.
"""

from __future__ import annotations

import gzip
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

FEATURES = tuple(f"pixel_{i}" for i in range(8))
LABELS = tuple(str(i) for i in range(10))
STREAMS = 50


@cache
def images(part: str) -> tuple[np.ndarray, np.ndarray]:
    """``train``, ``validation`` or ``test``: ``float32[image, row, pixel]`` from 0 to 16, and ``int64[image]``.

    Raises `EdgeRnnError` when the file reads otherwise.
    """
    path = packaged_file("sklearn", "datasets", "data", "digits.csv.gz")
    try:
        with gzip.open(path, "rt") as file:
            table = np.loadtxt(file, delimiter=",")
        x, labels = table[:, :64].reshape(-1, 8, 8).astype(np.float32), table[:, 64].astype(np.int64)
    except (OSError, ValueError, IndexError) as error:
        raise EdgeRnnError(f"{path} cannot be read: {error}; install scikit-learn again") from error
    ends = {"train": (0.0, 0.6), "validation": (0.6, 0.75), "test": (0.75, 1.0)}[part]
    inside = slice(*(round(end * len(x)) for end in ends))
    return x[inside], labels[inside]


def _sequences(part: str) -> Sequences:
    x, labels = images(part)
    target = torch.from_numpy(labels).expand(8, -1)
    return Sequences(torch.from_numpy(x).transpose(0, 1).contiguous(), target)


def load() -> Parts:
    """Training and validation images; only the last row's answer counts."""
    return Parts(_sequences("train"), _sequences("validation"))


def answers(model: SequenceModel) -> Answers:
    """What is said at the end of each test image."""
    return at_the_end(model, _sequences("test"))


def score(model: SequenceModel) -> Score:
    """Share of test images that are named rightly at their last row."""
    return Score("accuracy", answers(model).accuracy, nearest_centroid(), higher_is_better=True)


def examples(model: SequenceModel) -> list[Example]:
    """Some of the streams."""
    return [*chosen_scores(model, streams())]


def nearest_centroid() -> float:
    """The baseline's test accuracy: the digit whose mean training image is nearest."""
    x, labels = images("train")
    test, truth = images("test")
    means = np.stack([x[labels == digit].mean(0) for digit in range(10)])
    return float((((test[:, None] - means) ** 2).sum((2, 3)).argmin(1) == truth).mean())


def streams() -> list[Stream]:
    """Some test images, each a stream of eight rows."""
    x, labels = images("test")
    return [Stream(f"image-{i:03d}", x[i], LABELS[labels[i]]) for i in range(STREAMS)]


RECIPE = Recipe(
    name="digits",
    purpose="name a handwritten digit that is read row by row",
    source="optical recognition of handwritten digits (UCI), as shipped in the package scikit-learn",
    licence="BSD-3-Clause (package scikit-learn, which ships the file); UCI: CC BY 4.0",
    baseline="the digit whose mean training image is nearest",
    task="classification",
    features=FEATURES,
    labels=LABELS,
    settings=Settings(
        cell="gru",
        hidden=96,
        inner_dropout=0.2,
        l2=0.0003,
        loss_on="last",
        chunk=8,
        batch=32,
        learning_rate=0.005,
        epochs=40,
        patience=10,
    ),
    load=load,
    loss=lambda _: class_error,
    score=score,
    answers=answers,
    examples=examples,
    streams=streams,
)
