"""Which words are names, places, dates, sums? A tag for every word of an order or a message.

Data: sentences made here, by `made`, from the templates and fillers of `tagging_words`; nothing is
copied from anywhere. The test and the validation part each use templates and fillers (names of
people, firms and places, dates, sums) of their own: what is learnt is how a word stands among
others. Unknown words are one token for each of a few shapes: capitalised, number, other.

A tag is said when the word is read, so it sees the words before and not those behind: it streams.
The baseline tags a word as it was tagged most often in the training part, by its token alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cache

import numpy as np
import torch

from edge_rnn.models import SequenceModel
from edge_rnn.models.classification import class_error
from edge_rnn.recipes.answers import Answers, at_every_step
from edge_rnn.recipes.language import rows_of_tokens
from edge_rnn.recipes.padding import side_by_side
from edge_rnn.recipes.recipe import Parts, Recipe, Score, Stream
from edge_rnn.recipes.tagging_words import FILLERS, HELD_OUT_TEMPLATES, TEMPLATES
from edge_rnn.training import Sequences, Settings
from edge_rnn.training.report.shown import Example, Words

LABELS = ("other", "person", "firm", "place", "date", "sum")
SHAPES = ("<capital>", "<number>", "<word>")
SIZES = {"train": 3000, "validation": 400, "test": 800}
SEEDS = {"train": 101, "validation": 102, "test": 103}
KNOWN_NAMES = 0.5
"""Of the training names this share is in the vocabulary; the others are seen by their shape alone, as at test."""
KEPT = 5
"""Every so manyth template and filler of those not held out for the test is kept for the validation part."""
STREAMS = 60
SHOWN = 12

Tagged = list[tuple[str, int]]


def of_part(part: str, known: Sequence[str], held_out: Sequence[str]) -> list[str]:
    """The templates or fillers that a part draws from: no two parts share one."""
    if part == "test":
        return list(held_out)
    return [one for i, one in enumerate(known) if (i % KEPT == KEPT - 1) == (part == "validation")]


@cache
def made(part: str) -> list[Tagged]:
    """``train``, ``validation`` or ``test``: sentences of words with their tags' numbers.

    The generator: a template of the part is drawn, then a filler of the part for each of its
    slots, all uniformly, from numpy's PCG64 with the part's seed.
    """
    rng = np.random.default_rng(SEEDS[part])
    templates = of_part(part, TEMPLATES, HELD_OUT_TEMPLATES)
    found = []
    for _ in range(SIZES[part]):
        sentence: Tagged = []
        for word in templates[rng.integers(len(templates))].split():
            if word.startswith("{"):
                label = word.strip("{}")
                fillers = of_part(part, *FILLERS[label])
                filler = fillers[rng.integers(len(fillers))]
                sentence += [(one, LABELS.index(label)) for one in filler.split()]
            else:
                sentence.append((word, 0))
        found.append(sentence)
    return found


@cache
def vocabulary() -> tuple[str, ...]:
    """The shapes, then the words of the training part; of the names only a part, so that shapes are learnt."""
    words = sorted({(word, tag) for sentence in made("train") for word, tag in sentence})
    names = [word for word, tag in words if LABELS[tag] in ("person", "firm", "place")]
    hidden = {name for i, name in enumerate(names) if i % 2 >= 2 * KNOWN_NAMES}
    return (*SHAPES, *sorted({word for word, _ in words} - hidden - {word for word, _ in words if word[0].isdigit()}))


@cache
def _numbers() -> dict[str, int]:
    return {word: i for i, word in enumerate(vocabulary())}


def token(word: str) -> int:
    """A word's number; that of its shape if it is unknown."""
    shape = SHAPES[0] if word[0].isupper() else SHAPES[1] if word[0].isdigit() else SHAPES[2]
    return _numbers().get(word, SHAPES.index(shape))


def _sequences(part: str) -> Sequences:
    xs = [np.array([token(word) for word, _ in sentence], np.int64) for sentence in made(part)]
    return side_by_side(xs, [np.array([tag for _, tag in sentence], np.int64) for sentence in made(part)])


def load() -> Parts:
    """Sentences of unequal length, a tag a word."""
    return Parts(_sequences("train"), _sequences("validation"))


def f1(found: list[int], truth: list[int]) -> float:
    """F1 over the words that have or get a tag: the harmonic mean of precision and recall."""
    right = sum(a == b != 0 for a, b in zip(found, truth, strict=True))
    return 2 * right / max(1, sum(a != 0 for a in found) + sum(b != 0 for b in truth))


@cache
def baseline() -> float:
    """F1 of each token's most frequent tag."""
    counts: dict[int, Counter[int]] = {}
    for sentence in made("train"):
        for word, tag in sentence:
            counts.setdefault(token(word), Counter())[tag] += 1
    pairs = [(token(word), tag) for sentence in made("test") for word, tag in sentence]
    found = [counts[number].most_common(1)[0][0] if number in counts else 0 for number, _ in pairs]
    return f1(found, [tag for _, tag in pairs])


def score(model: SequenceModel) -> Score:
    """F1 over the words of the test sentences."""
    found = answers(model)
    return Score("F1", f1(found.said.tolist(), found.truth.tolist()), baseline(), higher_is_better=True)


def answers(model: SequenceModel) -> Answers:
    """The tag of every word of the test sentences."""
    return at_every_step(model, _sequences("test"))


def examples(model: SequenceModel) -> list[Example]:
    """The first test sentences."""
    found: list[Example] = []
    for sentence in made("test")[:SHOWN]:
        with torch.no_grad():
            y, _ = model.eval()(torch.tensor([token(word) for word, _ in sentence])[:, None])
        said = tuple(LABELS[number] for number in y[:, 0].argmax(-1).tolist())
        found.append(Words(tuple(word for word, _ in sentence), said, tuple(LABELS[tag] for _, tag in sentence)))
    return found


def streams() -> list[Stream]:
    """Some test sentences, a word a step."""
    return [
        Stream(f"message-{i:02d}", rows_of_tokens([token(word) for word, _ in sentence]), None)
        for i, sentence in enumerate(made("test")[:STREAMS])
    ]


RECIPE = Recipe(
    name="tagging",
    purpose="tag people, firms, places, dates and sums in messages, word by word",
    source="made by the recipe's own generator from templates; test templates and names are held out",
    licence="Apache-2.0 (this project)",
    baseline="each word's most frequent tag",
    task="classification",
    features=("word",),
    labels=LABELS,
    vocabulary=vocabulary(),
    settings=Settings(
        cell="gru",
        hidden=32,
        embedding=24,
        dropout=0.6,
        l2=0.001,
        chunk=32,
        batch=50,
        learning_rate=0.004,
        epochs=12,
        patience=4,
    ),
    load=load,
    loss=lambda _: class_error,
    score=score,
    answers=answers,
    examples=examples,
    streams=streams,
)
