"""The whole model: state carried, names, scalers."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_rnn.contract.errors import UsageError
from edge_rnn.models import Scaler, build

CELLS = [("elman", "tanh"), ("elman", "relu"), ("elman", "sigmoid"), ("jordan", "tanh"), ("jordan", "sigmoid")]
CELLS += [("lstm", "tanh"), ("gru", "tanh")]


def model(cell="lstm", activation="tanh", **arguments):
    torch.manual_seed(3)
    given = {"inputs": 3, "outputs": 2, "hidden": 5, "layers": 2, "dropout": 0.5, "activation": activation}
    built = build(cell, **{**given, **arguments}).eval()
    built.scaler.fit(torch.randn(50, 3) * 4 + 7)
    return built


@settings(max_examples=40, deadline=None)
@given(cell=st.sampled_from(CELLS), cut=st.integers(1, 11))
def test_forward_when_cut_anywhere_then_equals_the_whole_sequence(cell, cut):
    net = model(*cell)
    x = torch.randn(12, 3, 3, generator=torch.Generator().manual_seed(cut)) * 4 + 7
    whole, last = net(x)
    first, state = net(x[:cut])
    second, end = net(x[cut:], state)
    torch.testing.assert_close(torch.cat([first, second]), whole, atol=1e-6, rtol=1e-6)
    for name in net.state_names:
        torch.testing.assert_close(end[name], last[name], atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(("cell", "kinds"), [("lstm", "hc"), ("gru", "h"), ("elman", "h"), ("jordan", "y")])
def test_state_when_stacked_then_is_named_by_layer_and_kind(cell, kinds):
    net = model(cell)
    _, state = net(torch.zeros(1, 4, 3))
    assert list(state) == list(net.state_names) == [f"rnn.{i}.{kind}" for i in range(2) for kind in kinds]
    assert {tuple(value.shape) for value in state.values()} == {(1, 4, 5)}
    assert all((value == 0).all() for value in net.initial_state(4).values())


def test_forward_when_given_a_state_then_leaves_it_unchanged():
    net = model()
    state = net.initial_state(2)
    net(torch.ones(3, 2, 3), state)
    assert all((value == 0).all() for value in state.values())


def test_forward_when_the_future_changes_then_past_outputs_do_not():
    net = model("gru")
    x = torch.randn(10, 1, 3)
    changed = torch.cat([x[:6], x[6:].flip(0) * 3])
    assert torch.equal(net(x)[0][:6], net(changed)[0][:6])


def test_scaler_when_fitted_then_standardises_and_its_inverse_undoes_it():
    values = torch.randn(7, 30, 4) * torch.tensor([1.0, 5, 0.1, 2]) + torch.tensor([0.0, 3, -9, 1])
    there, back = Scaler(4), Scaler(4, inverse=True)
    there.fit(values)
    back.fit(values)
    scaled = there(values).reshape(-1, 4)
    torch.testing.assert_close(scaled.mean(0), torch.zeros(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(scaled.std(0, correction=0), torch.ones(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(back(there(values)), values)


def test_scaler_when_an_entry_is_constant_then_stays_finite():
    scaler = Scaler(1)
    scaler.fit(torch.full((9, 1), 4.0))
    assert scaler(torch.tensor([[4.0]])).item() == 0


def test_model_when_regression_then_gives_the_target_s_units():
    net = model(task="regression")
    net.output_scaler.fit(torch.randn(200, 2) + 1000)
    assert abs(net(torch.zeros(1, 1, 3))[0].mean().item() - 1000) < 5
    assert model(task="classification").output_scaler is None


@pytest.mark.parametrize(
    ("cell", "arguments", "said"),
    [
        ("lstn", {}, "elman, gru, jordan, lstm"),
        ("lstm", {"hiden": 3}, "hidden"),
        ("lstm", {"hidden": "many"}, "hidden"),
        ("lstm", {"dropout": 1.0}, "dropout"),
        ("gru", {"activation": "relu"}, "activation"),
        ("gru", {"features": ("a",)}, "1 features named, expected 3"),
        ("gru", {"labels": ("a",)}, "1 labels named, expected 2"),
    ],
)
def test_build_when_an_argument_is_wrong_then_names_it(cell, arguments, said):
    with pytest.raises(UsageError, match=said):
        build(cell, **{"inputs": 3, "outputs": 2, **arguments})
