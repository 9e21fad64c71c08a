"""The loop: learns, clips, penalises, stops early, repeats itself bit by bit."""

from __future__ import annotations

import io
import math
import random

import msgspec
import numpy as np
import pytest
import torch
from torch import nn

from edge_rnn.contract.errors import EdgeRnnError, UsageError
from edge_rnn.models import build
from edge_rnn.models.regression import squared_error
from edge_rnn.training import (
    OPTIMISERS,
    EarlyStopping,
    Sequences,
    Settings,
    deterministic,
    evaluate,
    fit,
    make_optimiser,
    penalty,
    progress_for,
)
from edge_rnn.training.loop import clip_gradient
from edge_rnn.training.progress import Bar

SMALL = Settings(hidden=4, batch=4, chunk=5, epochs=3, learning_rate=0.01)
SMALL_LAST = msgspec.structs.replace(SMALL, loss_on="last")


def loss(y, target):
    return squared_error(y, target, torch.ones(1))


def delayed(count=8, steps=10) -> Sequences:
    """The target is the input of the step before."""
    x = torch.rand(steps, count, 1)
    return Sequences(x, torch.cat([torch.zeros(1, count, 1), x[:-1]]))


def train(seed: int, **changes):
    with deterministic(seed):
        model = build("gru", inputs=1, outputs=1, hidden=4, layers=2, dropout=0.2)
        history = fit(model, delayed(), delayed(), loss, msgspec.structs.replace(SMALL, **changes))
    return model, history


def weights(model: nn.Module) -> torch.Tensor:
    return torch.cat([value.detach().flatten() for value in model.parameters()])


def test_fit_when_the_seed_is_the_same_then_weights_are_bit_equal():
    (first, one), (second, two), (other, _) = train(5), train(5), train(6)
    assert torch.equal(weights(first), weights(second))
    assert one == two
    assert not torch.equal(weights(first), weights(other))


def test_deterministic_when_left_then_everything_is_as_before():
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    before = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())
    threads = torch.get_num_threads()
    with deterministic(9):
        drawn = (random.random(), np.random.rand(), torch.rand(1).item())
    assert (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == before
    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == (threads, False)
    with deterministic(9):
        assert (random.random(), np.random.rand(), torch.rand(1).item()) == drawn


@pytest.mark.parametrize(
    ("optimiser", "momentum", "rate"), [("adam", 0, 0.02), ("rmsprop", 0, 0.01), ("sgd", 0.9, 0.1)]
)
def test_fit_when_the_task_needs_memory_then_learns_it(optimiser, momentum, rate):
    changes = {"optimiser": optimiser, "momentum": momentum, "learning_rate": rate, "epochs": 60, "patience": 60}
    with deterministic(0):
        model = build("elman", inputs=1, outputs=1, hidden=8)
        held = delayed(20)
        before = evaluate(model, held, loss)
        fit(model, delayed(20), held, loss, msgspec.structs.replace(SMALL, **changes))
        after = evaluate(model, held, loss)
    assert after < before / 5


@pytest.mark.parametrize(("name", "kind"), [("adam", "Adam"), ("rmsprop", "RMSprop"), ("sgd", "SGD")])
def test_make_optimiser_when_named_then_takes_rate_and_momentum(name, kind):
    momentum = 0.0 if name == "adam" else 0.8
    made = make_optimiser(name, nn.Linear(2, 1).parameters(), 0.25, momentum)
    assert (type(made).__name__, made.param_groups[0]["lr"]) == (kind, 0.25)
    assert made.param_groups[0].get("momentum", 0.0) == momentum
    assert set(OPTIMISERS) == {"adam", "rmsprop", "sgd"}


@pytest.mark.parametrize(("name", "momentum", "said"), [("lion", 0.0, "adam, rmsprop, sgd"), ("adam", 0.9, "momentum")])
def test_make_optimiser_when_wrong_then_says_what_is_valid(name, momentum, said):
    with pytest.raises(UsageError, match=said):
        make_optimiser(name, nn.Linear(2, 1).parameters(), 0.1, momentum)


@pytest.mark.parametrize(("norm", "expected"), [(1.0, 1.0), (2.5, 2.5), (10.0, 5.0), (0.0, 5.0)])
def test_clip_gradient_when_above_the_norm_then_is_scaled_down_to_it(norm, expected):
    model = nn.Linear(2, 1, bias=False)
    model.weight.grad = torch.tensor([[3.0, -4.0]])
    clip_gradient(model, norm)
    assert model.weight.grad.norm().item() == pytest.approx(expected, rel=1e-5)
    assert model.weight.grad[0, 0] / model.weight.grad[0, 1] == pytest.approx(-0.75)


@pytest.mark.parametrize(("norm", "value", "expected"), [(0, 3.5, [3.0, -3.5]), (1.5, 2, [1.06066, -1.06066])])
def test_clip_gradient_when_an_entry_is_above_the_value_then_it_alone_is_cut_before_the_norm(norm, value, expected):
    model = nn.Linear(2, 1, bias=False)
    model.weight.grad = torch.tensor([[3.0, -4.0]])
    clip_gradient(model, norm, value)
    assert model.weight.grad[0].tolist() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("clip", ["clip_norm", "clip_value"])
def test_fit_when_clipped_then_a_step_of_sgd_is_no_longer_than_that(clip):
    given = {"optimiser": "sgd", "learning_rate": 1.0, "epochs": 1, "chunk": 10, "batch": 8, "clip_norm": 0.0}
    with deterministic(2):
        model, data = build("gru", inputs=1, outputs=1, hidden=4), delayed()
        before = weights(model)
        fit(model, data, data, loss, msgspec.structs.replace(SMALL, **{**given, clip: 0.001}))
    step = weights(model) - before
    size = step.norm() if clip == "clip_norm" else step.abs().max()
    assert size.item() == pytest.approx(0.001, rel=1e-3)


def test_penalty_when_l1_and_l2_then_sums_weights_without_biases():
    model = nn.Linear(3, 1)
    with torch.no_grad():
        model.weight[:] = torch.tensor([[1.0, -2.0, 3.0]])
        model.bias[:] = 100.0
    assert penalty(model, 0.5, 0.0).item() == 3.0
    assert penalty(model, 0.0, 0.5).item() == 7.0
    assert penalty(model, 0.5, 0.5).item() == 10.0
    assert penalty(model, 0.0, 0.0).item() == 0.0


@pytest.mark.parametrize("kind", ["l1", "l2"])
def test_fit_when_penalised_then_weights_are_smaller(kind):
    plain, _ = train(1, epochs=20, patience=20)
    small, _ = train(1, epochs=20, patience=20, **{kind: 0.02})
    assert weights(small).square().sum() < weights(plain).square().sum()


def test_early_stopping_when_no_better_loss_comes_then_stops_and_restores_the_best():
    model, stopping = nn.Linear(1, 1), EarlyStopping(patience=2)
    stops = []
    for epoch, seen in enumerate([3.0, 1.0, math.nan, 2.0], start=1):
        nn.init.constant_(model.weight, epoch)
        stops.append(stopping.observe(epoch, seen, model))
    stopping.restore(model)
    assert stops == [False, False, False, True]
    assert (stopping.best_epoch, stopping.best_loss, model.weight.item()) == (2, 1.0, 2.0)


def test_fit_when_stopped_then_the_model_has_the_best_epoch_s_loss():
    with deterministic(0):
        model, held = build("gru", inputs=1, outputs=1, hidden=4), delayed()
        unlike = Sequences(held.x, held.target + torch.randn_like(held.target))
        history = fit(model, delayed(), unlike, loss, Settings(epochs=200, patience=3, learning_rate=0.1, chunk=5))
        assert evaluate(model, unlike, loss) == min(history.validation) == history.validation[history.best_epoch - 1]
    assert len(history.validation) == history.best_epoch + 3 < 200


def test_fit_when_many_to_one_then_only_the_last_step_counts():
    with deterministic(0):
        model, data = build("gru", inputs=1, outputs=1, hidden=4), delayed()
        target = data.target.clone()
        target[:-1] = 1e9
        history = fit(model, Sequences(data.x, target), Sequences(data.x, target), loss, SMALL_LAST)
    assert max(history.train + history.validation) < 10


def test_fit_when_it_diverges_then_says_so_at_once():
    model = build("elman", inputs=1, outputs=1, hidden=4, activation="relu")
    wild = Settings(optimiser="sgd", learning_rate=1e30, clip_norm=0.0, epochs=50)
    data = delayed()
    with pytest.raises(EdgeRnnError, match=r"diverged.*learning_rate") as caught:
        fit(model, data, data, loss, wild)
    assert caught.value.exit_status == 1


def test_progress_when_not_a_terminal_then_writes_plain_lines():
    stream = io.StringIO()
    with progress_for(stream) as told:
        for epoch in range(1, 22):
            told.epoch(epoch, 21, 0.5, 0.25)
    lines = stream.getvalue().splitlines()
    assert [line.split()[1] for line in lines] == ["1/21", "10/21", "20/21", "21/21"]
    assert "\x1b" not in stream.getvalue()


def test_progress_when_a_terminal_then_is_a_bar(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: True)
    with progress_for(stream) as told:
        told.epoch(1, 2, 0.5, 0.25)
        assert isinstance(told, Bar)
