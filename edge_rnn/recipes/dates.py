"""From one language to another: English dates said in French, by an encoder and a decoder.

Data: dates written out by the package Babel in the two locales (data of Unicode's CLDR).
The generator draws days between 1950 and 2049 from numpy's PCG64. Split by day of the year: all
dates of one in ten days of the year are for the test and of one in ten for early stopping, so that
no "14 juillet" of the test was ever seen.

The score is the share of characters that are wrong: edit distance over length. The baseline gives
the French of the most alike English sentence of the training part.
"""

from __future__ import annotations

from collections import Counter
from datetime import date, timedelta
from functools import cache

import numpy as np
import torch

from edge_rnn.contract.errors import MissingDependency
from edge_rnn.contract.signature import GenerationSpec
from edge_rnn.models import EncoderDecoder, SequenceModel
from edge_rnn.models.classification import class_error
from edge_rnn.recipes.answers import Answers
from edge_rnn.recipes.padding import pad
from edge_rnn.recipes.recipe import Parts, Recipe, Score
from edge_rnn.training import Prompt, Sequences, Settings
from edge_rnn.training.report.shown import Example, Reply

END = "<end>"
FIRST_DAY, DAYS = date(1950, 1, 1), 36_524
COUNT = 6000
SEED = 7
LONGEST = 40
SHOWN = 20

Pair = tuple[str, str]


@cache
def pairs() -> dict[str, list[Pair]]:
    """``train``, ``validation``, ``test``: English and French of each date. Raises `MissingDependency`."""
    try:
        from babel.dates import format_date
    except ModuleNotFoundError as error:
        raise MissingDependency("this recipe needs babel; install it: pip install 'edge-rnn[recipes]'") from error
    rng = np.random.default_rng(SEED)
    place = np.arange(366) % 10
    rng.shuffle(place)
    parts: dict[str, list[Pair]] = {"train": [], "validation": [], "test": []}
    for number in rng.choice(DAYS, COUNT, replace=False).tolist():
        day = FIRST_DAY + timedelta(days=number)
        part = {4: "validation", 9: "test"}.get(int(place[day.replace(year=2000).timetuple().tm_yday - 1]), "train")
        parts[part].append((format_date(day, "long", locale="en_US"), format_date(day, "long", locale="fr_FR")))
    return parts


@cache
def vocabularies() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """English characters; French ones and the end."""
    english, french = (sorted({c for pair in pairs()["train"] for c in pair[side]}) for side in (0, 1))
    return tuple(english), (END, *french)


def _numbers(text: str, vocabulary: tuple[str, ...]) -> np.ndarray:
    return np.array([vocabulary.index(c) for c in text], np.int64)


def _prompt(some: list[Pair]) -> Prompt:
    english, _ = vocabularies()
    tokens = [_numbers(source, english) for source, _ in some]
    return Prompt(pad(tokens), torch.tensor([len(part) for part in tokens]))


def _sequences(some: list[Pair]) -> Sequences:
    """The decoder takes the end and each French character, and must say the next one, the end at last."""
    _, french = vocabularies()
    said = [np.append(_numbers(target, french), 0) for _, target in some]
    fed = [np.append(0, part[:-1]) for part in said]
    return Sequences(pad(fed), pad(said), torch.tensor([len(part) for part in said]), _prompt(some))


def load() -> Parts:
    """Pairs of unequal length."""
    return Parts(_sequences(pairs()["train"]), _sequences(pairs()["validation"]))


def translate(model: EncoderDecoder, some: list[Pair]) -> list[str]:
    """What the model says for each English sentence, always the likeliest character."""
    _, french = vocabularies()
    prompt = _prompt(some)
    said: list[list[int]] = [[] for _ in some]
    with torch.no_grad():
        state = model.eval().prompt(prompt.tokens, prompt.lengths)
        token = torch.zeros(1, len(some), dtype=torch.int64)
        for _ in range(LONGEST):
            y, state = model(token, state)
            token = y.argmax(-1)
            for sentence, one in zip(said, token[0].tolist(), strict=True):
                sentence.append(one)
    return ["".join(french[one] for one in sentence[: (*sentence, 0).index(0)]) for sentence in said]


def edits(a: str, b: str) -> int:
    """Levenshtein's distance: characters to insert, remove or replace."""
    row = list(range(len(b) + 1))
    for i, left in enumerate(a, 1):
        last, row[0] = row[0], i
        for j, right in enumerate(b, 1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (left != right))
    return row[-1]


def error_rate(said: list[str], truth: list[str]) -> float:
    """Share of characters that are wrong."""
    return sum(edits(a, b) for a, b in zip(said, truth, strict=True)) / sum(map(len, truth))


@cache
def baseline() -> float:
    """The error rate of the most alike training sentence's translation, likeness by shared pairs of characters."""
    kinds = {
        two: i for i, two in enumerate(sorted({p[i : i + 2] for p, _ in pairs()["train"] for i in range(len(p) - 1)}))
    }

    def counted(text: str) -> np.ndarray:
        counts = np.zeros(len(kinds), np.float32)
        for two, count in Counter(text[i : i + 2] for i in range(len(text) - 1)).items():
            if two in kinds:
                counts[kinds[two]] = count
        return counts

    known = np.stack([counted(source) for source, _ in pairs()["train"]])
    norms = (known**2).sum(1)
    said = [pairs()["train"][int((2 * known @ counted(s) - norms).argmax())][1] for s, _ in pairs()["test"]]
    return error_rate(said, [target for _, target in pairs()["test"]])


def score(model: SequenceModel) -> Score:
    """Characters wrong over the test dates."""
    assert isinstance(model, EncoderDecoder)
    said = translate(model, pairs()["test"])
    value = error_rate(said, [target for _, target in pairs()["test"]])
    return Score("share of characters wrong", value, baseline(), higher_is_better=False)


def answers(model: SequenceModel) -> Answers:
    """Each next character of the test dates' French, given the ones before."""
    test = _sequences(pairs()["test"])
    assert isinstance(model, EncoderDecoder)
    assert test.prompt is not None
    assert test.lengths is not None
    with torch.no_grad():
        y, _ = model.eval()(test.x, model.prompt(test.prompt.tokens, test.prompt.lengths))
    inside = torch.arange(test.steps)[:, None] < test.lengths
    return Answers(y[inside].argmax(-1).numpy(), test.target[inside].numpy())


def examples(model: SequenceModel) -> list[Example]:
    """The first test dates."""
    assert isinstance(model, EncoderDecoder)
    some = pairs()["test"][:SHOWN]
    return [Reply(source, said, truth) for (source, truth), said in zip(some, translate(model, some), strict=True)]


def recipe() -> Recipe:
    """The recipe; the vocabularies are read from the dates."""
    english, french = vocabularies()
    return Recipe(
        name="dates",
        purpose="translate dates from English to French, character by character",
        source="dates written out by the package Babel (Unicode CLDR locale data)",
        licence="BSD-3-Clause (package Babel); CLDR: Unicode-3.0",
        baseline="the translation of the most alike training sentence",
        task="classification",
        features=("character",),
        labels=french,
        vocabulary=french,
        prompt_vocabulary=english,
        generation=GenerationSpec(unit="character", begin=END, stop=END, turns="fresh"),
        settings=Settings(
            cell="lstm",
            hidden=128,
            embedding=16,
            l2=0.00005,
            chunk=64,
            batch=64,
            learning_rate=0.003,
            epochs=10,
            patience=5,
        ),
        load=load,
        loss=lambda _: class_error,
        score=score,
        answers=answers,
        examples=examples,
        streams=list,
        prompts=lambda: [source for source, _ in pairs()["test"][:SHOWN]],
    )
