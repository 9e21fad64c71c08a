"""Which token comes next: temperature, top-k and top-p over logits, each stream by its own settings.

A row's choice depends on that row, its settings and its random number alone, not on the batch that
it stands in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec
import numpy as np


class Sampling(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How tokens are drawn. ``temperature`` 0 takes the likeliest; ``top_k`` 0 and ``top_p`` 1 take from all.

    ``top_k`` keeps the k likeliest tokens, ``top_p`` the fewest whose probabilities, at this
    temperature and after top-k, reach it (A. Holtzman et al., "The curious case of neural text
    degeneration", 2020).
    """

    temperature: Annotated[float, msgspec.Meta(ge=0, le=100)] = 1.0
    top_k: Annotated[int, msgspec.Meta(ge=0)] = 0
    top_p: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1.0
    seed: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] = 0

    @property
    def cuts(self) -> bool:
        """Whether some tokens are left out."""
        return bool(self.top_k > 0 or self.top_p < 1)


def choose(logits: np.ndarray, samplings: Sequence[Sampling], draws: np.ndarray) -> np.ndarray:
    """A token for each row of ``logits: float[batch, vocabulary]``: ``int64[batch]``.

    ``draws: float64[batch]`` in [0, 1) is where along the cumulative probability the token is taken.
    """
    chosen: np.ndarray = np.argmax(logits, axis=1).astype(np.int64)
    plain = [row for row, sampling in enumerate(samplings) if sampling.temperature > 0 and not sampling.cuts]
    cut = [row for row, sampling in enumerate(samplings) if sampling.temperature > 0 and sampling.cuts]
    if plain:
        chosen[plain] = _take(_probabilities(logits[plain], [samplings[row] for row in plain]), draws[plain])
    if cut:
        chosen[cut] = _choose_cut(logits[cut], [samplings[row] for row in cut], draws[cut])
    return chosen


def _choose_cut(logits: np.ndarray, samplings: Sequence[Sampling], draws: np.ndarray) -> np.ndarray:
    """As `choose`, among the tokens that top-k and top-p leave."""
    order = np.argsort(-logits, axis=1, kind="stable")
    p = np.take_along_axis(_probabilities(logits, samplings), order, axis=1)
    rank = np.arange(logits.shape[1])
    top_k = np.array([sampling.top_k or logits.shape[1] for sampling in samplings])[:, None]
    top_p = np.array([sampling.top_p for sampling in samplings])[:, None]
    p = np.where(rank < top_k, p, 0.0)
    p = p / p.sum(axis=1, keepdims=True)
    before = np.cumsum(p, axis=1) - p
    p = np.where((before < top_p) | (rank == 0), p, 0.0)
    return np.asarray(np.take_along_axis(order, _take(p, draws)[:, None], axis=1)[:, 0])


def _probabilities(logits: np.ndarray, samplings: Sequence[Sampling]) -> np.ndarray:
    """``float64[batch, vocabulary]`` at each row's temperature."""
    wide = np.ascontiguousarray(logits, np.float64)
    temperature = np.array([sampling.temperature for sampling in samplings])[:, None]
    with np.errstate(over="ignore"):  # a temperature near 0 may push a logit to minus infinity: probability 0
        powers = np.exp((wide - wide.max(axis=1, keepdims=True)) / temperature)
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def _take(p: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """The first place where the cumulative probability exceeds the draw; never one of probability 0."""
    total = np.cumsum(p, axis=1)
    place = (total <= draws[:, None] * total[:, -1:]).sum(axis=1)
    last = p.shape[1] - 1 - (p[:, ::-1] > 0).argmax(axis=1)
    return np.asarray(np.minimum(place, last))
