"""What recipes of tokens share: numbering, next-token sequences, bits a token, and n-grams as a baseline."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from edge_rnn.models import SequenceModel
from edge_rnn.recipes.answers import Answers, at_every_step
from edge_rnn.recipes.padding import side_by_side
from edge_rnn.training import Sequences

Tokens = list[int]


def numbered(pieces: Iterable[Sequence[str]], vocabulary: Sequence[str]) -> list[Tokens]:
    """Each piece's tokens as numbers. A piece with a token that the vocabulary lacks is left out."""
    number = {token: i for i, token in enumerate(vocabulary)}
    return [[number[token] for token in piece] for piece in pieces if all(token in number for token in piece)]


def frequent(pieces: Iterable[Sequence[str]], least: int) -> list[str]:
    """The tokens that stand at least ``least`` times in the pieces, in order of the alphabet."""
    counts = Counter(token for piece in pieces for token in piece)
    return sorted(token for token, count in counts.items() if count >= least)


def next_token(pieces: Sequence[Tokens], length: int) -> Sequences:
    """Pieces cut to at most ``length`` steps, each step's target being the token behind it.

    Cuts of one piece overlap by one token, so that every token but a piece's first is a target.
    """
    xs, targets = [], []
    for piece in pieces:
        whole = np.array(piece, np.int64)
        for start in range(0, len(whole) - 1, length):
            part = whole[start : start + length + 1]
            xs.append(part[:-1])
            targets.append(part[1:])
    return side_by_side(xs, targets)


def bits_a_token(model: SequenceModel, pieces: Sequence[Tokens]) -> float:
    """Mean of -log2 p(next token), every piece from a fresh state on to its end."""
    whole = next_token(pieces, max(map(len, pieces)))
    assert whole.lengths is not None
    total, count = 0.0, 0
    model.eval()
    with torch.no_grad():
        for which in torch.split(torch.argsort(whole.lengths), 64):
            some = whole.pick(which)
            assert some.lengths is not None
            y, _ = model(some.x)
            inside = torch.arange(some.steps)[:, None] < some.lengths
            total += float(cross_entropy(y[inside], some.target[inside], reduction="sum"))
            count += int(some.lengths.sum())
    return total / count / math.log(2)


def next_answers(model: SequenceModel, pieces: Sequence[Tokens]) -> Answers:
    """The likeliest next token beside the true one, over all pieces."""
    whole = next_token(pieces, max(map(len, pieces)))
    assert whole.lengths is not None
    parts = [at_every_step(model, whole.pick(which)) for which in torch.split(torch.argsort(whole.lengths), 64)]
    return Answers(np.concatenate([part.said for part in parts]), np.concatenate([part.truth for part in parts]))


def written_on(
    model: SequenceModel, opening: Tokens, count: int, *, end: int | None, seed: int, temperature: float = 0.7
) -> Tokens:
    """``count`` tokens drawn behind ``opening``, fewer where ``end`` is drawn; the same for the same seed."""
    draw = torch.Generator().manual_seed(seed)
    said: Tokens = []
    token, state = torch.tensor(opening)[:, None], None
    with torch.no_grad():
        for _ in range(count):
            y, state = model.eval()(token, state)
            one = int(torch.multinomial((y[-1, 0] / temperature).softmax(-1), 1, generator=draw))
            if one == end:
                break
            said.append(one)
            token = torch.tensor([[one]])
    return said


def ngram_bits(train: Sequence[Tokens], test: Sequence[Tokens], vocabulary: int, order: int) -> float:
    """Bits a token of an n-gram model with Witten-Bell smoothing, contexts of up to ``order - 1`` tokens.

    I. Witten, T. Bell, "The zero-frequency problem" (1991): the shorter context weighs by how
    many different tokens have followed the longer one.
    """
    p = np.full(sum(len(piece) - 1 for piece in test), 1 / vocabulary)
    for size in range(order):
        seen, token = _contexts(train, vocabulary, size)
        asked, wanted = _contexts(test, vocabulary, size)
        context, total = np.unique(seen[seen >= 0], return_counts=True)
        pair, count = np.unique((seen * vocabulary + token)[seen >= 0], return_counts=True)
        kinds = np.bincount(np.searchsorted(context, pair // vocabulary), minlength=len(context))
        place = np.minimum(np.searchsorted(context, asked), len(context) - 1)
        known = (context[place] == asked) & (asked >= 0)
        at = np.minimum(np.searchsorted(pair, asked * vocabulary + wanted), len(pair) - 1)
        hits = np.where(pair[at] == asked * vocabulary + wanted, count[at], 0)
        p = np.where(known, (hits + kinds[place] * p) / (total[place] + kinds[place]), p)
    return float(-np.log2(p).mean())


def _contexts(pieces: Sequence[Tokens], vocabulary: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """For each token but the first of a piece, the ``size`` tokens before it as one number (-1: fewer), and itself."""
    contexts, tokens = [], []
    for piece in pieces:
        whole = np.array(piece, np.int64)
        code = np.zeros(len(whole) - 1, np.int64)
        for back in range(size, 0, -1):
            code[size - 1 :] = code[size - 1 :] * vocabulary + whole[size - back : len(whole) - back]
        code[: max(0, size - 1)] = -1
        contexts.append(code)
        tokens.append(whole[1:])
    return np.concatenate(contexts), np.concatenate(tokens)


def rows_of_tokens(tokens: Sequence[int]) -> np.ndarray:
    """Tokens as a stream's rows, ``int64[time, 1]``."""
    return np.array(tokens, np.int64)[:, None]
