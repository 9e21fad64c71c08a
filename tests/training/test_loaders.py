"""The same loop for modules and data loaders of the user's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from edge_rnn.contract.errors import UsageError
from edge_rnn.training import Settings, deterministic, fit
from edge_rnn.training.loaders import carries_state, cut, stretches

COUNT, STEPS = 24, 30


class Echo(nn.Module):
    """An LSTM of the user's own, batch first, whose state is a tuple in a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(1, 8, batch_first=True)
        self.out = nn.Linear(8, 1)
        self.lengths: list[int] = []

    def forward(self, x, state=None):
        self.lengths.append(x.shape[1])
        y, new = self.lstm(x, None if state is None else state["lstm"])
        return self.out(y), {"lstm": new}


class Last(nn.Module):
    """A classifier of whole sequences: no state comes out."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(8)
        self.gru = nn.GRU(1, 8, batch_first=True)
        self.out = nn.Linear(8, 2)

    def forward(self, x):
        return self.out(self.norm(self.gru(x)[0][:, -1]))


def echoes(seed: int) -> TensorDataset:
    """The target is the input of the step before."""
    x = torch.rand(COUNT, STEPS, 1, generator=torch.Generator().manual_seed(seed))
    return TensorDataset(x, torch.cat([torch.zeros(COUNT, 1, 1), x[:, :-1]], dim=1))


def test_fit_when_given_a_module_and_loaders_of_the_user_s_own_then_learns_in_five_lines():
    with deterministic(0):
        train, held = DataLoader(echoes(1), batch_size=8, shuffle=True), DataLoader(echoes(2), batch_size=8)
        model = Echo()
        history = fit(model, train, held, nn.functional.mse_loss, Settings(epochs=40, chunk=10, learning_rate=0.02))
    assert history.validation[history.best_epoch - 1] < history.validation[0] / 4
    assert set(model.lengths[1:]) == {10}  # the first call asks whether it carries a state


def test_fit_when_the_module_gives_no_state_then_sees_whole_sequences():
    torch.manual_seed(0)
    x = torch.randn(COUNT, STEPS, 1)
    data = TensorDataset(x, (x.mean(1) > 0)[:, 0].long())
    loader, model = DataLoader(data, batch_size=8, shuffle=True), Last()
    settings = Settings(epochs=60, patience=60, chunk=5, learning_rate=0.01)
    history = fit(model, loader, loader, nn.functional.cross_entropy, settings)
    assert history.validation[history.best_epoch - 1] < 0.3
    assert (model(x).argmax(-1) == data.tensors[1]).float().mean() > 0.85


def test_carries_state_when_asked_then_leaves_no_trace():
    torch.manual_seed(3)
    model, loader = Last(), DataLoader(TensorDataset(torch.randn(8, 5, 1), torch.zeros(8)), batch_size=4, shuffle=True)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    drawn = torch.get_rng_state()
    assert not carries_state(model, loader)
    assert carries_state(Echo(), loader)
    assert torch.equal(torch.get_rng_state(), drawn) is False  # Echo's weights were drawn
    drawn = torch.get_rng_state()
    carries_state(model, loader)
    assert torch.equal(torch.get_rng_state(), drawn)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert model.training


@pytest.mark.parametrize("time_axis", [0, 1])
def test_stretches_when_cut_then_give_the_whole_s_outputs_and_no_gradient_across(time_axis):
    torch.manual_seed(1)
    model = nn.GRU(2, 3, batch_first=time_axis == 1)
    x = torch.randn(4, 7, 2, requires_grad=True)
    parts = list(stretches(model, x, x, 3, carries=True, time_axis=time_axis))
    whole, _ = model(x)
    torch.testing.assert_close(torch.cat([y for y, _ in parts], dim=time_axis), whole)
    assert torch.equal(torch.cat([target for _, target in parts], dim=time_axis), x)
    (gradient,) = torch.autograd.grad(parts[1][0].sum(), x)
    reached = gradient.abs().sum(dim=(1 - time_axis, 2)) > 0
    assert np.flatnonzero(reached.numpy()).tolist() == [3, 4, 5][: 7 if time_axis else 1]


def test_cut_when_nested_then_keeps_the_shape_and_no_graph():
    value = torch.ones(2, requires_grad=True) * 2
    found = cut({"a": (value, [value]), "b": None, "c": 3})
    assert found["a"][0].requires_grad is found["a"][1][0].requires_grad is False
    assert (found["b"], found["c"]) == (None, 3)


@pytest.mark.parametrize(
    ("loader", "said"), [([], "gives no batch"), ([torch.zeros(2)], "gives a Tensor"), ([(1, 2, 3)], "tuple of 3")]
)
def test_fit_when_the_loader_gives_no_pairs_then_says_what_is_expected(loader, said):
    with pytest.raises(UsageError, match=said):
        fit(Echo(), loader, loader, nn.functional.mse_loss, Settings(epochs=1))


def test_fit_when_a_loader_s_training_is_interrupted_then_goes_on_to_the_same_weights(tmp_path):
    def train(folder, loss=nn.functional.mse_loss):
        with deterministic(4):
            model, data = Echo(), DataLoader(echoes(1), batch_size=8, shuffle=True)
            fit(model, data, data, loss, Settings(epochs=6, chunk=10), folder=folder)
        return torch.cat([weight.flatten() for weight in model.parameters()])

    calls = 0

    def failing(y, target):
        nonlocal calls
        calls += 1
        if calls == 80:
            raise KeyboardInterrupt
        return nn.functional.mse_loss(y, target)

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "b", failing)
    assert torch.equal(train(tmp_path / "b"), train(tmp_path / "a"))
