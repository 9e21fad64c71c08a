"""What recipes of tokens share, and data that is not where it should be."""

from __future__ import annotations

import math
import random
from collections import Counter

import numpy as np
import pytest
import torch

from edge_rnn.contract.errors import EdgeRnnError, MissingDependency
from edge_rnn.models import build
from edge_rnn.recipes.dates import edits, pairs
from edge_rnn.recipes.heartbeat import area
from edge_rnn.recipes.language import bits_a_token, next_token, ngram_bits
from edge_rnn.recipes.music import tokens_of
from edge_rnn.recipes.sdist import from_source
from edge_rnn.recipes.tagging import made, of_part
from edge_rnn.recipes.tagging_words import FILLERS, HELD_OUT_TEMPLATES, TEMPLATES
from edge_rnn.recipes.text import topics


def by_hand(train, test, vocabulary, order) -> float:
    """Witten-Bell with dictionaries, a token at a time."""
    follows: dict[tuple[int, ...], Counter[int]] = {}
    for piece in train:
        for i in range(1, len(piece)):
            for size in range(min(order, i + 1)):
                follows.setdefault(tuple(piece[i - size : i]), Counter())[piece[i]] += 1
    bits = []
    for piece in test:
        for i in range(1, len(piece)):
            p = 1 / vocabulary
            for size in range(min(order, i + 1)):
                counts = follows.get(tuple(piece[i - size : i]))
                if counts:
                    p = (counts[piece[i]] + len(counts) * p) / (counts.total() + len(counts))
            bits.append(-math.log2(p))
    return sum(bits) / len(bits)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_ngram_bits_when_counted_then_are_those_by_hand(order):
    draw = random.Random(order)
    pieces = [[draw.choice([0, 1, 1, 2, 3, 3, 3]) for _ in range(draw.randint(2, 30))] for _ in range(60)]
    assert ngram_bits(pieces[:40], pieces[40:], 5, order) == pytest.approx(by_hand(pieces[:40], pieces[40:], 5, order))


def test_bits_when_the_model_is_even_handed_then_are_the_vocabulary_s_logarithm():
    model = build("gru", inputs=1, outputs=8, vocabulary=tuple("abcdefgh"), task="classification")
    with torch.no_grad():
        model.head.weight.zero_()
        model.head.bias.zero_()
    assert bits_a_token(model, [[0, 1, 2], [5, 6, 7, 0, 1], [3, 3]]) == pytest.approx(3)


def test_next_token_when_cut_then_every_token_but_the_first_is_a_target_once():
    sequences = next_token([[1, 2, 3, 4, 5, 6], [7, 8]], 2)
    inside = torch.arange(2)[:, None] < sequences.lengths
    assert sorted(sequences.target[inside].tolist()) == [2, 3, 4, 5, 6, 8]
    assert sorted(sequences.x[inside].tolist()) == [1, 2, 3, 4, 5, 7]


def test_music_when_a_tune_is_read_then_ornaments_are_left_out():
    abc = 'X: 1\nT: A Reel\nM: C|\nL: 1/8\nK: D\n({g}vf2."4"e)|^c3_B, z2|(3ABc d\'>e :|\nW: words\n'
    assert tokens_of(abc) == [
        "<end>", "M:C|", "L:1/8", "K:D", "f2", "e", "|", "^c3", "_B,", "z2", "|", "(3", "A", "B", "c", "d'", ">", "e", ":|",
        "<end>",
    ]  # fmt: skip


def test_text_when_split_then_no_paragraph_of_the_test_stands_in_the_training_part():
    def paragraphs(part):
        return {bytes(piece[1:]) for topic in topics(part) for piece in [[0, *topic]] if len(piece) > 50}

    train, test = paragraphs("train"), paragraphs("test")
    assert test
    assert not train & test


def test_tagging_when_made_then_no_template_or_filler_stands_in_two_parts():
    for known, held_out in ((TEMPLATES, HELD_OUT_TEMPLATES), *FILLERS.values()):
        parts = [set(of_part(part, known, held_out)) for part in ("train", "validation", "test")]
        assert all(parts)
        assert sum(map(len, parts)) == len(set.union(*parts)) == len(known) + len(held_out)
    assert {tag for sentence in made("test") for _, tag in sentence} == set(range(6))


def test_dates_when_split_then_no_day_of_the_year_stands_in_two_parts():
    days = {part: {source.rsplit(",", 1)[0] for source, _ in found} for part, found in pairs().items()}
    assert not days["train"] & days["test"]
    assert not days["train"] & days["validation"]
    assert sum(map(len, days.values())) == 366


@pytest.mark.parametrize(("a", "b", "n"), [("", "abc", 3), ("kitten", "sitting", 3), ("juin", "juin", 0)])
def test_edits_when_counted_then_are_levenshtein_s(a, b, n):
    assert edits(a, b) == edits(b, a) == n


def test_area_when_scores_are_drawn_then_is_the_share_of_pairs_in_order():
    rng = np.random.default_rng(0)
    scores, marked = rng.integers(0, 9, 80).astype(float), rng.random(80) < 0.3
    pairs_in_order = [(a > b) + 0.5 * (a == b) for a in scores[marked] for b in scores[~marked]]
    assert area(scores, marked) == pytest.approx(np.mean(pairs_in_order))


def test_from_source_when_missing_or_another_file_then_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGE_RNN_DATA", str(tmp_path))
    with pytest.raises(MissingDependency, match=r"pip download --no-deps --no-binary thing thing==1.0"):
        from_source("thing", "1.0", "0" * 64, "thing/a")
    (tmp_path / "thing-1.0.tar.gz").write_bytes(b"other")
    with pytest.raises(EdgeRnnError, match="not the file expected"):
        from_source("thing", "1.0", "0" * 64, "thing/a")
