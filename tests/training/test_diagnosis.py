"""The diagnosis: a network of one unit whose gradient is known, and what is said of it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from edge_rnn.cli.main import run
from edge_rnn.models import build
from edge_rnn.training.diagnosis import diagnose, draw_diagnoses, judge


def unit(weight: float):
    """h_t = relu(x_t + w h_{t-1}), y = h: the gradient k steps back is w ** k."""
    model = build("elman", inputs=1, outputs=1, hidden=1, activation="relu")
    layer = model.layers[0]
    with torch.no_grad():
        for name, value in (("weight_ih_l0", 1.0), ("weight_hh_l0", weight), ("bias_ih_l0", 0.0), ("bias_hh_l0", 0.0)):
            getattr(layer, name).fill_(value)
        model.head.weight.fill_(1.0)
        model.head.bias.zero_()
    return model


@pytest.mark.parametrize(
    ("weight", "verdict", "reach"),
    [(0.5, "vanishing", 10), (0.9, "vanishing", 40), (1.0, "steady", 40), (1.2, "exploding", 40)],
)
def test_diagnose_when_the_gradient_is_known_then_finds_its_factor(weight, verdict, reach):
    found = diagnose(unit(weight), torch.rand(40, 6, 1) + 0.5)
    np.testing.assert_allclose(found.norms, weight ** np.arange(40.0), rtol=1e-4)
    assert found.factor == pytest.approx(weight, rel=1e-4)
    assert (found.verdict, found.reach) == (verdict, reach)
    assert verdict in str(found)


@pytest.mark.parametrize("cell", ["elman", "jordan", "lstm", "gru"])
def test_diagnose_when_done_then_the_model_is_as_before(cell):
    model = build(cell, inputs=1, outputs=3, vocabulary=tuple("abc"), dropout=0.5, task="classification").train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = diagnose(model, torch.randint(3, (30, 4)), steps=20)
    assert len(found.norms) == 20
    assert found.norms[0] == 1
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert not model.layers[0]._forward_pre_hooks


def test_judge_when_the_gradient_is_exactly_zero_somewhere_then_it_vanishes():
    found = judge(np.array([1.0, 0.1, 0.0, 0.0]))
    assert (found.verdict, found.reach) == ("vanishing", 2)
    assert found.factor == pytest.approx(0.1)


def test_draw_diagnoses_when_some_vanish_and_some_explode_then_gives_a_picture():
    found = {"a": judge(np.array([1.0, 0.0])), "b": judge(1.5 ** np.arange(50.0))}
    assert draw_diagnoses(found, "both").startswith(b"\x89PNG")


def test_train_when_asked_to_diagnose_then_says_and_draws_every_cell(tmp_path, capsys):
    call = ["train", "weather", "-o", str(tmp_path / "run"), "--diagnose", "--set", "epochs=2"]
    assert run(call) == 0
    out = capsys.readouterr().out
    cells = ["elman tanh", "elman relu", "elman sigmoid", "jordan tanh", "lstm", "gru"]
    assert all(f"{cell}, fresh" in out for cell in cells)
    assert "lstm, trained" in out
    assert (tmp_path / "run" / "diagnosis.txt").read_text() in out
    assert (tmp_path / "run" / "diagnosis.png").read_bytes().startswith(b"\x89PNG")
    assert run([*call, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["gradient"]
    assert told["elman sigmoid, fresh"]["verdict"] == "vanishing"
