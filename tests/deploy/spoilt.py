"""Models that are bad in one way each, beside one that is good: Elman networks of 3 features and 2 outputs.

The third feature is heard by unit 0 alone, and nothing hears unit 0.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from edge_rnn.contract.bundle import Bundle
from tests.models_for_tests import make_bundle

HIDDEN = 8
SPIKE = 1e30
"""Of the third feature: all bear it but the one that makes infinity of it, and of nothing times that NaN."""


def good(path: Path) -> Bundle:
    """What serves first."""
    return _bundle(path, lambda _: None)


def better(path: Path, by: float = 0.001) -> Bundle:
    """Another model, with outputs that are close."""
    return _bundle(path, lambda weights: weights["bias"].add_(by))


def disagreeing(path: Path) -> Bundle:
    return _bundle(path, lambda weights: weights["weight"].neg_())


def infinite(path: Path) -> Bundle:
    """The same outputs as `good`, but NaN after a spike."""
    return _bundle(path, lambda weights: weights["weight_ih_l0"][0, 2].fill_(1e10))


def slow(path: Path, hidden: int = 4096) -> Bundle:
    """The same outputs as `good`, with very many units more that nothing hears."""
    small: dict[str, torch.Tensor] = {}

    def keep(model: torch.nn.Module) -> None:
        _apart(_weights(model))
        small.update({name: value.clone() for name, value in _weights(model).items()})

    make_bundle(path.with_name(f"{path.name}-small"), "elman", change=keep, hidden=HIDDEN, activation="relu")

    def change(model: torch.nn.Module) -> None:
        for name, value in _weights(model).items():
            value.zero_()
            value[tuple(slice(size) for size in small[name].shape)] = small[name]

    return make_bundle(path, "elman", change=change, hidden=hidden, activation="relu")


MAKE: dict[str, Callable[[Path], Bundle]] = {
    "first": good,
    "second": better,
    "third": partial(better, by=0.002),
    "disagrees": disagreeing,
    "infinite": infinite,
    "slow": slow,
}


def _bundle(path: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> Bundle:
    def apart(model: torch.nn.Module) -> None:
        _apart(_weights(model))
        change(_weights(model))

    return make_bundle(path, "elman", change=apart, hidden=HIDDEN, activation="relu")


def _apart(weights: dict[str, torch.Tensor]) -> None:
    weights["weight_ih_l0"][:, 2] = 0
    weights["weight_ih_l0"][0, 2] = 0.5
    weights["weight_hh_l0"][:, 0] = 0
    weights["weight"][:, 0] = 0


def _weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name.rpartition(".")[2]: value for name, value in model.named_parameters()}
