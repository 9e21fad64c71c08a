"""A step function in a few lines of NumPy, and ways to break it: the gates need no engine."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edge_rnn.contract.stepgraph import Arrays, Step
from edge_rnn.contract.trial import Subject

WIDTH = 3


def leaky(inputs: Sequence[np.ndarray], states: Sequence[np.ndarray], /) -> tuple[Arrays, Arrays]:
    """``s_t = 0.9 s_{t-1} + x_t``; ``y_t = tanh(s_t)``."""
    state, steps = states[0], []
    for x in inputs[0]:
        state = np.float32(0.9) * state + x
        steps.append(np.tanh(state))
    return [np.stack(steps)], [state]


def leaking_over_streams(inputs: Sequence[np.ndarray], states: Sequence[np.ndarray], /) -> tuple[Arrays, Arrays]:
    """A little of every stream's state flows into the next one's."""
    outputs, (state,) = leaky(inputs, states)
    return outputs, [state + np.float32(0.01) * (np.roll(state, 1, axis=0) - state)]


def depending_on_chunks(inputs: Sequence[np.ndarray], states: Sequence[np.ndarray], /) -> tuple[Arrays, Arrays]:
    """Right in single steps; otherwise something of the chunk's mean flows in."""
    outputs, new = leaky(inputs, states)
    return [outputs[0] + (outputs[0] - outputs[0].mean(axis=0)) * np.float32(0.01)], new


def overflowing(inputs: Sequence[np.ndarray], states: Sequence[np.ndarray], /) -> tuple[Arrays, Arrays]:
    """Not finite when the state grows beyond 3."""
    outputs, new = leaky(inputs, states)
    return outputs, [np.where(np.abs(new[0]) > 3, np.float32(np.inf), new[0])]


def subject(step: Step = leaky, *, has_time: bool = True) -> Subject:
    """The step function as the gates examine it; its state is named ``s`` and its output ``y``."""
    return Subject(step, (np.zeros(WIDTH, np.float32),), ("y",), ("s",), has_time)


def noise(steps: int = 64, batch: int = 4, seed: int = 0) -> list[np.ndarray]:
    """Inputs ``float32[steps, batch, 3]``."""
    return [np.random.default_rng(seed).standard_normal((steps, batch, WIDTH)).astype(np.float32)]
