"""What character comes next? A language model of Python's own reference manual.

Data: the topics of Python's online help (``pydoc_data.topics``, chapters of the language
reference as text), which come with every Python. Split by topic: of the topics in order of their
names every tenth is kept for the test and every tenth for early stopping; a paragraph that stands
in several topics counts once, in the training part if it is there.

The score is bits a character over the test topics; the baseline is a 5-gram model with Witten-Bell
smoothing fitted on the same training topics.
"""

from __future__ import annotations

import importlib
from functools import cache

from edge_rnn.contract.signature import GenerationSpec
from edge_rnn.models import SequenceModel
from edge_rnn.models.classification import class_error
from edge_rnn.recipes.answers import Answers
from edge_rnn.recipes.language import (
    Tokens,
    bits_a_token,
    next_answers,
    next_token,
    ngram_bits,
    numbered,
    rows_of_tokens,
    written_on,
)
from edge_rnn.recipes.recipe import Parts, Recipe, Score, Stream
from edge_rnn.training import Settings
from edge_rnn.training.report.shown import Example, Reply

VOCABULARY = ("\n", *(chr(code) for code in range(32, 127)))
LENGTH = 512
ORDER = 5
STREAMS = 4
PROMPTS = ("The ", "An expression ", "if ")
WRITTEN = 300


@cache
def topics(part: str) -> list[Tokens]:
    """``train``, ``validation`` or ``test``: each topic's characters, beginning with a line's end.

    Characters beyond ASCII (dashes, quotation marks) are left out. A paragraph that stands in
    several topics stays in the first of the training part or, if in none, in the first of the others.
    """
    texts: dict[str, str] = importlib.import_module("pydoc_data.topics").topics
    parts: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
    for number, name in enumerate(sorted(texts)):
        parts[{0: "test", 5: "validation"}.get(number % 10, "train")].append(texts[name])
    known = set(VOCABULARY)
    seen: set[str] = set()
    found: dict[str, list[list[str]]] = {}
    for name, chosen in parts.items():
        found[name] = []
        for text in chosen:
            paragraphs = [paragraph for paragraph in text.split("\n\n") if paragraph not in seen]
            seen.update(paragraphs)
            found[name].append(["\n", *(c for c in "\n\n".join(paragraphs) if c in known)])
    return numbered((piece for piece in found[part] if len(piece) > 1), VOCABULARY)


def load() -> Parts:
    """Topics in stretches of `LENGTH` characters."""
    return Parts(next_token(topics("train"), LENGTH), next_token(topics("validation"), LENGTH))


@cache
def baseline() -> float:
    """The n-gram model's bits a character."""
    return ngram_bits(topics("train"), topics("test"), len(VOCABULARY), ORDER)


def score(model: SequenceModel) -> Score:
    """Bits a character over the test topics."""
    return Score("bits a character", bits_a_token(model, topics("test")), baseline(), higher_is_better=False)


def answers(model: SequenceModel) -> Answers:
    """The likeliest next character of the test topics."""
    return next_answers(model, topics("test"))


def examples(model: SequenceModel) -> list[Example]:
    """What is written behind each prompt."""
    number = {character: i for i, character in enumerate(VOCABULARY)}
    found: list[Example] = []
    for seed, prompt in enumerate(PROMPTS):
        said = written_on(model, [0, *(number[c] for c in prompt)], WRITTEN, end=None, seed=seed)
        found.append(Reply(prompt, "".join(VOCABULARY[token] for token in said)))
    return found


def streams() -> list[Stream]:
    """The first `LENGTH` characters of some test topics."""
    return [
        Stream(f"topic-{i}", rows_of_tokens(topic[:LENGTH]), None) for i, topic in enumerate(topics("test")[:STREAMS])
    ]


RECIPE = Recipe(
    name="text",
    purpose="write on, character by character, in the manner of Python's reference manual",
    source="pydoc_data.topics, the help topics that come with Python",
    licence="PSF License Version 2",
    baseline="5-gram model of characters, Witten-Bell smoothing, fitted on the same topics",
    task="classification",
    features=("character",),
    labels=VOCABULARY,
    vocabulary=VOCABULARY,
    generation=GenerationSpec(unit="character", begin="\n"),
    settings=Settings(
        cell="gru", hidden=160, embedding=32, l2=0.0001, chunk=64, batch=16, learning_rate=0.004, epochs=8, patience=2
    ),
    load=load,
    loss=lambda _: class_error,
    score=score,
    answers=answers,
    examples=examples,
    streams=streams,
    prompts=lambda: [*PROMPTS],
)
