"""A policy with memory: balance a pole without being told how fast anything moves.

Task: CartPole-v1 of the package gymnasium with both velocities hidden, so that a single look does
not say which way the pole swings. The policy learns by imitation: a controller that sees
everything says what to do in each moment of its own runs, in which a share of the moves is drawn
at random so that they also lead to bad places. The controller is linear, its weights tuned by hand.

The score is how many steps the pole stands, 500 at most, over 100 starts that nothing was trained
on. The baseline has no memory: it pushes to the side to which the pole leans.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch

from edge_rnn.contract.errors import MissingDependency
from edge_rnn.models import SequenceModel
from edge_rnn.models.classification import class_error
from edge_rnn.recipes.answers import SHOWN, Answers, at_every_step, scores_of
from edge_rnn.recipes.recipe import Parts, Recipe, Score, Stream
from edge_rnn.training import Sequences, Settings
from edge_rnn.training.report.shown import Example

FEATURES = ("position", "angle")
LABELS = ("left", "right")
CONTROLLER = np.array([0.3, 0.6, 8.0, 2.0])
"""Push right when this, times position, velocity, angle and angular velocity, is above 0."""

RANDOM_SHARE = 0.3
STEPS, LONGEST = 200, 500
COUNT = {"train": 160, "validation": 40, "test": 100}
FIRST_SEED = {"train": 10_000, "validation": 20_000, "test": 30_000}
STREAMS = 8


class Poles:
    """Several carts in step; one that fell begins anew, or stays fallen where ``again`` is off."""

    def __init__(self, count: int, first_seed: int, *, again: bool) -> None:
        """Cart i starts from ``first_seed + i``. Raises `MissingDependency`."""
        try:
            from gymnasium.envs.classic_control.cartpole import CartPoleEnv
        except ModuleNotFoundError as error:
            raise MissingDependency(
                "this recipe needs gymnasium; install it: pip install 'edge-rnn[recipes]'"
            ) from error
        self._carts: list[Any] = [CartPoleEnv() for _ in range(count)]
        self._again = again
        self.seen = np.stack([cart.reset(seed=first_seed + i)[0] for i, cart in enumerate(self._carts)])
        self.stands = np.ones(count, bool)

    def move(self, pushes: np.ndarray) -> None:
        """Push each cart, ``int64[count]``: 0 to the left, 1 to the right."""
        for i in np.flatnonzero(self.stands):
            self.seen[i], _, fell, _, _ = self._carts[i].step(int(pushes[i]))
            if fell and self._again:
                self.seen[i] = self._carts[i].reset()[0]
            elif fell:
                self.stands[i] = False


def shown(seen: np.ndarray) -> np.ndarray:
    """Position and angle, without velocities: ``float32[count, 2]``."""
    return np.ascontiguousarray(seen[:, [0, 2]], np.float32)


@cache
def runs(part: str) -> Sequences:
    """What the policy would see and what the controller would do, `STEPS` steps of each cart."""
    carts = Poles(COUNT[part], FIRST_SEED[part], again=False)
    rng = np.random.default_rng(FIRST_SEED[part])
    xs, targets, lengths = [], [], np.zeros(COUNT[part], np.int64)
    for _ in range(STEPS):
        right = (carts.seen @ CONTROLLER > 0).astype(np.int64)
        xs.append(shown(carts.seen))
        targets.append(right)
        lengths += carts.stands
        at_random = rng.random(COUNT[part]) < RANDOM_SHARE
        carts.move(np.where(at_random, rng.integers(0, 2, COUNT[part]), right))
    return Sequences(torch.from_numpy(np.stack(xs)), torch.from_numpy(np.stack(targets)), torch.from_numpy(lengths))


def load() -> Parts:
    """Runs of the controller, disturbed."""
    return Parts(runs("train"), runs("validation"))


def play(model: SequenceModel | None) -> tuple[np.ndarray, np.ndarray]:
    """Steps that each test pole stands, and what was seen: ``int64[count]``, ``float32[time, count, 2]``.

    Without a model the baseline plays.
    """
    carts = Poles(COUNT["test"], FIRST_SEED["test"], again=False)
    stood, state, seen = np.zeros(COUNT["test"], np.int64), None, []
    for _ in range(LONGEST):
        x = shown(carts.seen)
        seen.append(x)
        if model is None:
            right = (x[:, 1] > 0).astype(np.int64)
        else:
            with torch.no_grad():
                y, state = model.eval()(torch.from_numpy(x)[None], state)
            right = y[0].argmax(-1).numpy()
        carts.move(right)
        stood += carts.stands
        if not carts.stands.any():
            break
    return stood, np.stack(seen)


def score(model: SequenceModel) -> Score:
    """Mean of the steps that the pole stands."""
    with_memory, without = (float(play(player)[0].mean()) for player in (model, None))
    return Score("steps that the pole stands", with_memory, without, higher_is_better=True)


def answers(model: SequenceModel) -> Answers:
    """What the policy would do beside what the controller does, in disturbed runs of the controller from test starts."""
    return at_every_step(model, runs("test"))


def examples(model: SequenceModel) -> list[Example]:
    """Some of the streams."""
    return [scores_of(model, *stream) for stream in streams()[:SHOWN]]


def streams() -> list[Stream]:
    """What the policy would see of some disturbed runs of the controller."""
    part = runs("validation")
    assert part.lengths is not None
    return [Stream(f"cart-{i}", part.x[: int(part.lengths[i]), i].numpy().copy(), None) for i in range(STREAMS)]


RECIPE = Recipe(
    name="cartpole",
    purpose="balance a pole whose speed is hidden, by a policy that remembers",
    source="CartPole-v1 of the package gymnasium (A. Barto, R. Sutton, C. Anderson, 1983), velocities hidden",
    licence="MIT (package gymnasium)",
    baseline="no memory: push to the side to which the pole leans",
    task="classification",
    features=FEATURES,
    labels=LABELS,
    settings=Settings(cell="gru", hidden=32, l2=0.0002, chunk=50, batch=16, learning_rate=0.005, epochs=15, patience=8),
    load=load,
    loss=lambda _: class_error,
    score=score,
    answers=answers,
    examples=examples,
    streams=streams,
)
