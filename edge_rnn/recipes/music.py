"""What note comes next? Fiddle tunes, note by note, with their metre and key.

Data: "Ryan's Mammoth Collection" (Boston, 1883) as ABC files inside the package music21. A tune is
its metre, note length and key, then notes with accidentals, octave and duration, and bar lines;
ornaments, fingerings, slurs and chord names are left out, and so is a tune with a sign that is
rare. Split by tune: in order of the files' names every tenth is kept for the test and every tenth
for early stopping.
"""

from __future__ import annotations

import re
from functools import cache

from edge_rnn.contract.errors import EdgeRnnError
from edge_rnn.contract.signature import GenerationSpec
from edge_rnn.models import SequenceModel
from edge_rnn.models.classification import class_error
from edge_rnn.recipes.answers import Answers
from edge_rnn.recipes.language import (
    Tokens,
    bits_a_token,
    frequent,
    next_answers,
    next_token,
    ngram_bits,
    numbered,
    rows_of_tokens,
    written_on,
)
from edge_rnn.recipes.packaged import packaged_file
from edge_rnn.recipes.recipe import Parts, Recipe, Score, Stream
from edge_rnn.training import Settings
from edge_rnn.training.report.shown import Example, Reply

END = "<end>"
LEAST = 10
LENGTH = 256
ORDER = 4
STREAMS = 8
PROMPTS = ("M:6/8 L:1/8 K:G", "M:C L:1/8 K:D", "M:2/4 L:1/16 K:A")
WRITTEN = 150
LEFT_OUT = re.compile(r"\{[^}]*\}|\"[^\"]*\"|![^!]*!|\[[A-Za-z]:[^\]]*\]|%.*|[()](?![0-9])|[.~vuTHLMPS\\\s]|-")
TOKEN = re.compile(r"[_^=]*[A-Ga-g][,']*\d*/*\d*|[zx]\d*/*\d*|\(\d|:?\|[|\]:]*|\[\||::|\[?[12](?=[^\d])|[<>]+")


def tokens_of(abc: str) -> list[str]:
    """A tune's signs, e.g. ``["M:6/8", "L:1/8", "K:G", "d", "B2", "|", ..., "<end>"]``, from the text of its file."""
    head = {kind: re.search(rf"^{kind}:\\s*(\\S+)".replace("\\\\", "\\"), abc, re.MULTILINE) for kind in "MLK"}
    body = re.split(r"^K:.*$", abc, maxsplit=1, flags=re.MULTILINE)
    if not all(head.values()) or len(body) < 2:
        return []
    lines = [line for line in body[1].splitlines() if not re.match(r"[A-Za-z]:|%", line)]
    opening = [f"{kind}:{found[1]}" for kind, found in head.items() if found]
    return [END, *opening, *TOKEN.findall(LEFT_OUT.sub("", " ".join(lines))), END]


@cache
def tunes() -> tuple[tuple[str, ...], dict[str, list[Tokens]]]:
    """The vocabulary, which the training tunes alone decide, and the tunes of each part. Raises `EdgeRnnError`."""
    folder = packaged_file("music21", "corpus", "ryansMammoth", "7thRegimentReel.abc").parent
    parts: dict[str, list[list[str]]] = {"train": [], "validation": [], "test": []}
    for number, file in enumerate(sorted(folder.glob("*.abc"))):
        part = {4: "validation", 9: "test"}.get(number % 10, "train")
        if tokens := tokens_of(file.read_text(encoding="utf-8", errors="replace")):
            parts[part].append(tokens)
    vocabulary = frequent(parts["train"], LEAST)
    if len(parts["train"]) < 500 or END not in vocabulary:
        raise EdgeRnnError(f"{folder} holds {len(parts['train'])} tunes to train on; install music21 again")
    return tuple(vocabulary), {part: numbered(found, vocabulary) for part, found in parts.items()}


def load() -> Parts:
    """Tunes in stretches of `LENGTH` signs."""
    _, parts = tunes()
    return Parts(next_token(parts["train"], LENGTH), next_token(parts["validation"], LENGTH))


@cache
def baseline() -> float:
    """The n-gram model's bits a sign."""
    vocabulary, parts = tunes()
    return ngram_bits(parts["train"], parts["test"], len(vocabulary), ORDER)


def score(model: SequenceModel) -> Score:
    """Bits a sign over the test tunes."""
    return Score("bits a note", bits_a_token(model, tunes()[1]["test"]), baseline(), higher_is_better=False)


def answers(model: SequenceModel) -> Answers:
    """The likeliest next sign of the test tunes."""
    return next_answers(model, tunes()[1]["test"])


def examples(model: SequenceModel) -> list[Example]:
    """What is written behind each prompt."""
    vocabulary, _ = tunes()
    number = {sign: i for i, sign in enumerate(vocabulary)}
    found: list[Example] = []
    for seed, prompt in enumerate(PROMPTS):
        said = written_on(model, [number[sign] for sign in (END, *prompt.split())], WRITTEN, end=number[END], seed=seed)
        found.append(Reply(prompt, " ".join(vocabulary[token] for token in said)))
    return found


def streams() -> list[Stream]:
    """Some test tunes, each a stream."""
    return [Stream(f"tune-{i}", rows_of_tokens(tune), None) for i, tune in enumerate(tunes()[1]["test"][:STREAMS])]


def recipe() -> Recipe:
    """The recipe; the vocabulary is read from the tunes."""
    vocabulary, _ = tunes()
    return Recipe(
        name="music",
        purpose="write fiddle tunes on, note by note, from a metre and a key",
        source="Ryan's Mammoth Collection (1883) in ABC, as shipped in the package music21",
        licence="the tunes: public domain; the transcriptions by J. Chambers state none, music21 ships them by permission",
        baseline="4-gram model of signs, Witten-Bell smoothing, fitted on the same tunes",
        task="classification",
        features=("note",),
        labels=vocabulary,
        vocabulary=vocabulary,
        generation=GenerationSpec(unit="word", begin=END, stop=END, turns="fresh"),
        settings=Settings(
            cell="lstm",
            hidden=128,
            embedding=32,
            dropout=0.2,
            l2=0.0002,
            chunk=64,
            batch=32,
            learning_rate=0.005,
            epochs=20,
            patience=4,
        ),
        load=load,
        loss=lambda _: class_error,
        score=score,
        answers=answers,
        examples=examples,
        streams=streams,
        prompts=lambda: [*PROMPTS],
    )
