"""Who is speaking? Nine men, told apart while they say two vowels.

Data: JapaneseVowels (M. Kudo, J. Toyama, M. Shimbo, 1999; UCI and UEA archives), as shipped inside
the package aeon: twelve LPC cepstrum coefficients of a microphone's signal, 7 to 29 steps an
utterance, 270 utterances to train and 370 to test. Of each speaker's training utterances the last
six are kept for early stopping. Sequences are of unequal length.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from edge_rnn.contract.errors import EdgeRnnError
from edge_rnn.models import SequenceModel
from edge_rnn.models.classification import class_error
from edge_rnn.recipes.answers import Answers, at_the_end, chosen_scores
from edge_rnn.recipes.packaged import packaged_file
from edge_rnn.recipes.padding import side_by_side
from edge_rnn.recipes.recipe import Parts, Recipe, Score, Stream
from edge_rnn.training import Sequences, Settings
from edge_rnn.training.report.shown import Example

FEATURES = tuple(f"lpc_{i:02d}" for i in range(1, 13))
LABELS = tuple(f"speaker_{i}" for i in range(1, 10))
VALIDATION_PER_SPEAKER = 6
STREAMS = 60

Utterance = tuple[np.ndarray, int]


@cache
def utterances(part: str) -> list[Utterance]:
    """``TRAIN`` or ``TEST``: each utterance's ``float32[time, 12]`` and its speaker's number.

    Raises `EdgeRnnError` when the file reads otherwise.
    """
    path = packaged_file("aeon", "datasets", "data", "JapaneseVowels", f"JapaneseVowels_{part}.ts")
    found = []
    try:
        for line in path.read_text().partition("@data")[2].split():
            *series, label = line.split(":")
            rows = np.array([[float(text) for text in one.split(",")] for one in series], np.float32).T
            found.append((rows, int(label) - 1))
    except ValueError as error:
        raise EdgeRnnError(f"{path} cannot be read: {error}; install aeon again") from error
    if not found or any(rows.shape[1] != len(FEATURES) for rows, _ in found):
        raise EdgeRnnError(f"{path} has not {len(FEATURES)} channels everywhere; install aeon again")
    return found


def _sequences(some: list[Utterance]) -> Sequences:
    """Every step of an utterance has its speaker as the target."""
    return side_by_side([rows for rows, _ in some], [np.full(len(rows), label, np.int64) for rows, label in some])


def load() -> Parts:
    """Training and validation utterances, both out of the archive's training part."""
    train, validation = [], []
    for number in range(len(LABELS)):
        own = [utterance for utterance in utterances("TRAIN") if utterance[1] == number]
        train += own[:-VALIDATION_PER_SPEAKER]
        validation += own[-VALIDATION_PER_SPEAKER:]
    return Parts(_sequences(train), _sequences(validation))


def answers(model: SequenceModel) -> Answers:
    """What is said at the end of each test utterance."""
    return at_the_end(model, _sequences(utterances("TEST")))


def score(model: SequenceModel) -> Score:
    """Share of test utterances that are named rightly at their last step."""
    return Score("accuracy", answers(model).accuracy, nearest_mean(), higher_is_better=True)


def examples(model: SequenceModel) -> list[Example]:
    """Some of the streams."""
    return [*chosen_scores(model, streams())]


def nearest_mean() -> float:
    """The baseline's test accuracy: the training utterance whose mean over time is nearest."""
    train, test = utterances("TRAIN"), utterances("TEST")
    known = np.stack([rows.mean(0) for rows, _ in train])
    labels = np.array([label for _, label in train])
    asked = np.stack([rows.mean(0) for rows, _ in test])
    nearest = ((asked[:, None] - known[None]) ** 2).sum(2).argmin(1)
    return float((labels[nearest] == [label for _, label in test]).mean())


def streams() -> list[Stream]:
    """Some of the test utterances."""
    chosen = utterances("TEST")[:: len(utterances("TEST")) // STREAMS]
    return [Stream(f"utterance-{i:03d}", rows, LABELS[label]) for i, (rows, label) in enumerate(chosen)]


RECIPE = Recipe(
    name="speaker",
    purpose="tell nine speakers apart by twelve coefficients of their voice, utterances of unequal length",
    source="JapaneseVowels of the UCI and UEA archives, as shipped in the package aeon",
    licence="BSD-3-Clause (package aeon, which ships the file); UCI: CC BY 4.0",
    baseline="the training utterance with the nearest mean over time",
    task="classification",
    features=FEATURES,
    labels=LABELS,
    settings=Settings(
        cell="gru",
        hidden=48,
        inner_dropout=0.2,
        l2=0.0003,
        chunk=32,
        batch=9,
        learning_rate=0.005,
        epochs=60,
        patience=20,
    ),
    load=load,
    loss=lambda _: class_error,
    score=score,
    answers=answers,
    examples=examples,
    streams=streams,
)
