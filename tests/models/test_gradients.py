"""Outputs, losses and gradients of every model against networks written in NumPy, whole and truncated."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from edge_rnn.models import build
from edge_rnn.models.classification import class_error
from edge_rnn.training import Sequences, chunks
from tests.models.by_hand import Network, cross_entropy, mean_square

CELLS = [("elman", "tanh"), ("elman", "relu"), ("elman", "sigmoid"), ("lstm", "tanh"), ("gru", "tanh")]
CELLS += [("jordan", "tanh"), ("jordan", "relu"), ("jordan", "sigmoid")]
STEPS, BATCH = 12, 3
SHAPES = {
    "one layer": {"hidden": 5},
    "128, 64, dense 1": {"hidden": (128, 64), "outputs": 1},
    "three of 50": {"hidden": 50, "layers": 3},
}
TOKENS = tuple("abcdefghijk")


def made(cell, activation="tanh", **arguments):
    """A model in float64, so that differences are those of the mathematics, and its weights for NumPy."""
    torch.manual_seed(1)
    model = build(cell, **{"inputs": 4, "outputs": 3, "activation": activation, **arguments}).double()
    if model.scaler is not None:
        model.scaler.fit(torch.randn(40, 4, dtype=torch.float64) * 3 + 2)
    if model.output_scaler is not None:
        model.output_scaler.fit(torch.randn(40, model.head.out_features, dtype=torch.float64) * 5 - 4)
    return model, {name: value.detach().numpy() for name, value in model.state_dict().items()}


def numbers(outputs=3) -> Sequences:
    draw = torch.Generator().manual_seed(2)
    x = torch.randn(STEPS, BATCH, 4, generator=draw, dtype=torch.float64) * 3 + 2
    return Sequences(x, torch.randn(STEPS, BATCH, outputs, generator=draw, dtype=torch.float64))


def gradients(model: nn.Module) -> dict[str, np.ndarray]:
    return {name.removesuffix("_l0"): p.grad.numpy() for name, p in model.named_parameters()}


def compare(model, network: Network, data: Sequences, length: int, loss, loss_by_hand) -> None:
    """Each chunk's outputs, loss and gradient; states go from chunk to chunk, gradients do not."""
    states, seen = network.first_state(BATCH), 0
    for chunk in chunks(model, data, length):
        model.zero_grad()
        value = loss(chunk.y, chunk.target)
        value.backward()
        x, target = data.x[seen : seen + length].numpy(), data.target[seen : seen + length].numpy()
        y, states, tape = network.forward(x, states)
        np.testing.assert_allclose(chunk.y.detach().numpy(), y, rtol=1e-9, atol=1e-11)
        expected, dy = loss_by_hand(y, target)
        assert value.item() == pytest.approx(expected, rel=1e-10)
        by_hand, found = network.backward(dy, tape), gradients(model)
        assert by_hand.keys() == found.keys()
        for name, gradient in by_hand.items():
            np.testing.assert_allclose(found[name], gradient, rtol=1e-7, atol=1e-11, err_msg=name)
        assert any(np.abs(gradient).max() > 1e-6 for gradient in by_hand.values())
        seen += length


def square(y, target):
    return ((y - target) ** 2).mean()


@pytest.mark.parametrize("length", [STEPS, 4])
@pytest.mark.parametrize("shape", sorted(SHAPES))
@pytest.mark.parametrize(("cell", "activation"), CELLS)
def test_gradient_when_whole_or_truncated_then_is_the_one_by_hand(cell, activation, shape, length):
    model, weights = made(cell, activation, **SHAPES[shape])
    network = Network(cell, weights, len(model.layers), activation)
    compare(model, network, numbers(model.head.out_features), length, square, mean_square)


@pytest.mark.parametrize("length", [STEPS, 5])
@pytest.mark.parametrize(("cell", "activation"), CELLS)
def test_gradient_when_tokens_go_through_two_layers_of_128_then_is_the_one_by_hand(cell, activation, length):
    arguments = {"inputs": 1, "outputs": len(TOKENS), "hidden": 128, "layers": 2, "task": "classification"}
    model, weights = made(cell, activation, vocabulary=TOKENS, embedding=7, **arguments)
    draw = torch.Generator().manual_seed(3)
    tokens = torch.randint(len(TOKENS), (STEPS + 1, BATCH), generator=draw)
    compare(
        model,
        Network(cell, weights, 2, activation),
        Sequences(tokens[:-1], tokens[1:]),
        length,
        class_error,
        cross_entropy,
    )


@pytest.mark.parametrize(("cell", "activation"), CELLS)
def test_gradient_with_inner_dropout_then_one_mask_holds_along_time(cell, activation):
    model, weights = made(cell, activation, hidden=6, layers=2, inner_dropout=0.4)
    torch.manual_seed(7)
    masks = [(torch.rand(6) >= 0.4).double().numpy() / 0.6 for _ in range(2)]
    assert any((mask == 0).any() for mask in masks)
    torch.manual_seed(7)
    model.train()
    compare(model, Network(cell, weights, 2, activation, masks), numbers(), STEPS, square, mean_square)


def test_inner_dropout_when_not_training_then_changes_nothing():
    model, weights = made("gru", hidden=6, inner_dropout=0.4)
    compare(model.eval(), Network("gru", weights, 1), numbers(), STEPS, square, mean_square)
