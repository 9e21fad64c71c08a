"""What each state does to each next state: tells a cell's c from its h where nothing else does.

In an LSTM, c' = f c + i g grows with c without bound, element by element; h' = o tanh(c') follows c
element by element too but stays within 1. So a pair whose next value stays bounded while another
output of its shape grows with it is swapped.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge_rnn.contract.errors import EngineError
from exporters.foreign.trying import Trying

SMALL, LARGE = 1e2, 1e4


@dataclass(frozen=True)
class Response:
    """How an output answers to a state: whether at all, element by element, and without bound."""

    depends: bool
    elementwise: bool
    unbounded: bool


def swapped_pair(trying: Trying, names: list[str]) -> tuple[str, str] | None:
    """A state and the one whose output grows with it in its place; ``None``: nothing is swapped for sure.

    ``names`` are the states' in the pairs' order.
    """
    shapes = [value.shape for value in trying.states(1, 0)]
    for k, name in enumerate(names):
        alike = [j for j in range(len(names)) if j != k and shapes[j] == shapes[k]]
        if not alike:
            continue
        try:
            answers = _responses(trying, k)
        except EngineError:
            return None
        own = answers[k]
        if not (own.depends and own.elementwise) or own.unbounded:
            continue
        for j in alike:
            if answers[j].elementwise and answers[j].unbounded:
                return name, names[j]
    return None


def _responses(trying: Trying, k: int) -> list[Response]:
    """Each next state's answer to state ``k``."""
    inputs, states = trying.inputs(1, 1, 11), trying.states(1, 12)
    _, base = trying.call(inputs, states)

    def pushed(change: np.ndarray) -> list[np.ndarray]:
        moved = [value + change if index == k else value for index, value in enumerate(states)]
        return [np.abs(a - b) for a, b in zip(trying.call(inputs, moved)[1], base, strict=True)]

    everywhere = np.ones_like(states[k])
    small, large = (
        pushed((SMALL * everywhere).astype(everywhere.dtype)),
        pushed((LARGE * everywhere).astype(everywhere.dtype)),
    )
    one = np.zeros_like(states[k])
    one.reshape(-1)[one.size // 2] = 1.0
    single = pushed(one)
    return [
        Response(
            depends=bool(a.max(initial=0) > 1e-6),
            elementwise=bool(0 < np.count_nonzero(s > 1e-7) <= max(1, s.size // 8)),
            unbounded=bool(b.max(initial=0) > 20 * max(a.max(initial=0), 1e-6)),
        )
        for a, b, s in zip(small, large, single, strict=True)
    ]
