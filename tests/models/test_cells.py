"""Each cell against its equations in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from edge_rnn.models import ElmanSigmoid, JordanLayer, LockedDropout
from edge_rnn.models.elman import elman
from edge_rnn.models.gru import gru
from edge_rnn.models.jordan import jordan
from edge_rnn.models.lstm import lstm

INPUTS, HIDDEN, STEPS, BATCH = 3, 5, 9, 4


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


FUNCTIONS = {"tanh": np.tanh, "relu": lambda x: np.maximum(x, 0), "sigmoid": sigmoid}


def arrays(layer: nn.Module) -> dict[str, np.ndarray]:
    """Parameters in float64, torch's layer suffix dropped."""
    named = layer.named_parameters()
    return {name.removesuffix("_l0"): value.detach().double().numpy() for name, value in named}


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(STEPS, BATCH, INPUTS, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def h() -> torch.Tensor:
    return torch.randn(1, BATCH, HIDDEN, generator=torch.Generator().manual_seed(2))


def assert_same(found: torch.Tensor, expected: np.ndarray | list[np.ndarray]) -> None:
    np.testing.assert_allclose(found.detach().numpy(), np.asarray(expected), atol=2e-6)


@pytest.mark.parametrize("activation", ["tanh", "relu", "sigmoid"])
def test_elman_when_given_a_state_then_follows_its_equation(activation, x, h):
    layer = elman(INPUTS, HIDDEN, activation)
    p, state, expected = arrays(layer), h[0].numpy(), []
    for step in x.numpy():
        drive = step @ p["weight_ih"].T + p["bias_ih"] + state @ p["weight_hh"].T + p["bias_hh"]
        state = FUNCTIONS[activation](drive)
        expected.append(state)
    y, last = layer(x, h)
    assert_same(y, expected)
    assert_same(last, state[None])


@pytest.mark.parametrize("activation", ["tanh", "relu", "sigmoid"])
@pytest.mark.parametrize("outputs", [None, 2])
def test_jordan_when_given_a_state_then_feeds_its_output_back(activation, outputs, x):
    layer = JordanLayer(INPUTS, HIDDEN, outputs, activation=activation)
    width = outputs or HIDDEN
    first = torch.randn(1, BATCH, width)
    p, y, expected = arrays(layer), first[0].numpy(), []
    for step in x.numpy():
        hidden = FUNCTIONS[activation](step @ p["weight_ih"].T + p["bias_h"] + y @ p["weight_yh"].T)
        y = hidden @ p["weight_hy"].T + p["bias_y"]
        expected.append(y)
    found, last = layer(x, first)
    assert_same(found, expected)
    assert_same(last, y[None])


def test_lstm_when_given_a_state_then_follows_its_equations(x, h):
    layer = lstm(INPUTS, HIDDEN)
    p, state, cell, expected = arrays(layer), h[0].numpy(), -h[0].numpy(), []
    for step in x.numpy():
        gates = step @ p["weight_ih"].T + p["bias_ih"] + state @ p["weight_hh"].T + p["bias_hh"]
        i, f, g, o = np.split(gates, 4, axis=1)
        cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
        state = sigmoid(o) * np.tanh(cell)
        expected.append(state)
    y, (last, last_cell) = layer(x, (h, -h))
    assert_same(y, expected)
    assert_same(last, state[None])
    assert_same(last_cell, cell[None])


def test_lstm_when_fresh_then_its_forget_bias_is_one():
    p = arrays(lstm(INPUTS, HIDDEN))
    assert (p["bias_ih"][HIDDEN : 2 * HIDDEN] + p["bias_hh"][HIDDEN : 2 * HIDDEN] == 1).all()


def test_gru_when_given_a_state_then_follows_its_equations(x, h):
    layer = gru(INPUTS, HIDDEN)
    p, state, expected = arrays(layer), h[0].numpy(), []
    for step in x.numpy():
        r_in, z_in, n_in = np.split(step @ p["weight_ih"].T + p["bias_ih"], 3, axis=1)
        r_hid, z_hid, n_hid = np.split(state @ p["weight_hh"].T + p["bias_hh"], 3, axis=1)
        r, z = sigmoid(r_in + r_hid), sigmoid(z_in + z_hid)
        state = (1 - z) * np.tanh(n_in + r * n_hid) + z * state
        expected.append(state)
    y, last = layer(x, h)
    assert_same(y, expected)
    assert_same(last, state[None])


@pytest.mark.parametrize("layer", [ElmanSigmoid(INPUTS, HIDDEN), jordan(INPUTS, HIDDEN, "tanh")])
def test_own_cell_when_no_state_is_given_then_starts_from_zeros(layer, x):
    with_none, with_zeros = layer(x), layer(x, torch.zeros(1, BATCH, HIDDEN))
    assert torch.equal(with_none[0], with_zeros[0])


def test_dropout_when_training_then_one_mask_holds_for_all_steps():
    torch.manual_seed(0)
    y = LockedDropout(0.5).train()(torch.ones(STEPS, BATCH, 50))
    assert set(y.unique().tolist()) == {0.0, 2.0}
    assert (y == y[:1]).all()
    assert not torch.equal(y[:, 0], y[:, 1])


def test_dropout_when_not_training_then_changes_nothing(x):
    assert LockedDropout(0.5).eval()(x) is x
