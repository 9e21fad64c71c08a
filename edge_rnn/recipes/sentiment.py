"""Is this sentence kind or unkind? One answer at the end of a film review's sentence, word by word.

Data: 10,605 sentences of film reviews (B. Pang, L. Lee, 2004), each rated by twenty people (C.
Hutto, E. Gilbert, "VADER", ICWSM 2014), inside the source distribution of the package
vaderSentiment. A sentence is kind if its mean rating is above 0; those within 0.5 of it are left
out. Neighbouring sentences may come from one review, so blocks of fifty are kept together: of ten
blocks one is for the test and one for early stopping. Words that stand fewer than three times in
the training part, and all unknown ones, are one token.

The baseline is VADER's own lexicon: the sum of the valences of a sentence's words, kind if not
negative.
"""

from __future__ import annotations

import re
from functools import cache

import numpy as np
import torch

from edge_rnn.contract.errors import EdgeRnnError
from edge_rnn.models import SequenceModel
from edge_rnn.models.classification import class_error
from edge_rnn.recipes.answers import Answers, at_the_end
from edge_rnn.recipes.language import frequent, rows_of_tokens
from edge_rnn.recipes.padding import side_by_side
from edge_rnn.recipes.recipe import Parts, Recipe, Score, Stream
from edge_rnn.recipes.sdist import from_source
from edge_rnn.training import Sequences, Settings
from edge_rnn.training.report.shown import Example, Words

PACKAGE = ("vaderSentiment", "3.3.2", "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9")
ROOT = "vaderSentiment-3.3.2"
LABELS = ("unkind", "kind")
OTHER = "<other>"
BLOCK, LEAST, MARGIN = 50, 3, 0.5
STREAMS = 60
SHOWN = 12

Sentence = tuple[list[str], int]


def words(text: str) -> list[str]:
    """Lower-case words and signs."""
    return re.findall(r"[a-z']*[a-z]|[0-9]+|[!?.,;:]", text.lower().replace("''", " "))


@cache
def sentences() -> dict[str, list[Sentence]]:
    """``train``, ``validation``, ``test``: words and class of each sentence. Raises `EdgeRnnError`."""
    inner = "hutto_ICWSM_2014"
    data = from_source(
        *PACKAGE, f"{ROOT}/additional_resources/{inner}.tar.gz", f"{inner}/movieReviewSnippets_GroundTruth.txt"
    )
    parts: dict[str, list[Sentence]] = {"train": [], "validation": [], "test": []}
    for number, line in enumerate(data.decode("utf-8", "replace").splitlines()):
        try:
            _, rating, text = line.split("\t", 2)
            mean = float(rating)
        except ValueError as error:
            raise EdgeRnnError(f"the reviews of {PACKAGE[0]} {PACKAGE[1]}, line {number + 1}: {error}") from error
        found = words(text)
        if abs(mean) >= MARGIN and found:
            part = {4: "validation", 9: "test"}.get(number // BLOCK % 10, "train")
            parts[part].append((found, int(mean > 0)))
    return parts


@cache
def vocabulary() -> tuple[str, ...]:
    """Unknown first, then the words of the training part that stand often enough."""
    return (OTHER, *frequent((found for found, _ in sentences()["train"]), LEAST))


def _tokens(found: list[str]) -> list[int]:
    number = _numbers()
    return [number.get(word, 0) for word in found]


@cache
def _numbers() -> dict[str, int]:
    return {word: i for i, word in enumerate(vocabulary())}


def _sequences(part: str) -> Sequences:
    some = [(np.array(_tokens(found), np.int64), label) for found, label in sentences()[part]]
    return side_by_side([x for x, _ in some], [np.full(len(x), label, np.int64) for x, label in some])


def load() -> Parts:
    """Sentences of unequal length; only the last word's answer counts."""
    return Parts(_sequences("train"), _sequences("validation"))


def lexicon_accuracy() -> float:
    """The baseline's test accuracy."""
    text = from_source(*PACKAGE, f"{ROOT}/vaderSentiment/vader_lexicon.txt").decode()
    valence = {line.split("\t")[0]: float(line.split("\t")[1]) for line in text.splitlines() if line.strip()}
    right = [(sum(valence.get(w, 0.0) for w in found) >= 0) == bool(label) for found, label in sentences()["test"]]
    return float(np.mean(right))


def answers(model: SequenceModel) -> Answers:
    """What is said at the end of each test sentence."""
    return at_the_end(model, _sequences("test"))


def score(model: SequenceModel) -> Score:
    """Share of test sentences that are named rightly at their last word."""
    return Score("accuracy", answers(model).accuracy, lexicon_accuracy(), higher_is_better=True)


def examples(model: SequenceModel) -> list[Example]:
    """The first test sentences, with what is said after each word."""
    found: list[Example] = []
    for text, label in sentences()["test"][:SHOWN]:
        with torch.no_grad():
            y, _ = model.eval()(torch.tensor(_tokens(text))[:, None])
        said = tuple(LABELS[number] for number in y[:, 0].argmax(-1).tolist())
        found.append(Words(tuple(text), said, label=LABELS[label]))
    return found


def streams() -> list[Stream]:
    """Some test sentences, a word a step."""
    chosen = sentences()["test"][:STREAMS]
    return [
        Stream(f"sentence-{i:02d}", rows_of_tokens(_tokens(found)), LABELS[label])
        for i, (found, label) in enumerate(chosen)
    ]


def recipe() -> Recipe:
    """The recipe; the vocabulary is read from the sentences."""
    return Recipe(
        name="sentiment",
        purpose="tell kind from unkind sentences of film reviews, word by word",
        source="film review sentences rated for VADER, in the source distribution of vaderSentiment 3.3.2",
        licence="MIT (package vaderSentiment); the sentences are quotations from reviews",
        baseline="sum of the valences of VADER's lexicon",
        task="classification",
        features=("word",),
        labels=LABELS,
        vocabulary=vocabulary(),
        settings=Settings(
            cell="gru",
            hidden=64,
            embedding=48,
            dropout=0.5,
            l2=0.0001,
            loss_on="last",
            chunk=64,
            batch=64,
            learning_rate=0.002,
            epochs=15,
            patience=4,
        ),
        load=load,
        loss=lambda _: class_error,
        score=score,
        answers=answers,
        examples=examples,
        streams=streams,
    )
