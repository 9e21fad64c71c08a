"""Modules with a forward of their own: emitted and proved, or refused by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from edge_rnn.contract.errors import ExportRefused
from edge_rnn.contract.golden import load_golden
from exporters.export import export_bundle
from exporters.inputs import parse_input
from exporters.source import Source
from tests.exporters import user_modules as user


def export(module: nn.Module, path: Path, *inputs: str) -> object:
    return export_bundle(Source(module, "user", {}), path, inputs=[parse_input(text) for text in inputs])


@pytest.mark.parametrize(
    ("kind", "inputs", "states"),
    [
        (user.Tagger, [], ["rnn.0.h", "rnn.0.c", "rnn.1.h", "rnn.1.c"]),
        (user.LastStep, ["tokens:int64:batch,time"], ["rnn.h"]),
        (user.LastHidden, [], ["rnn.0.h", "rnn.0.c", "rnn.1.h", "rnn.1.c"]),
        (user.Residual, ["x:float32:batch,time,4"], ["first.h", "second.h"]),
        (user.TwoInputs, ["x:float32:batch,time,2", "kind:int64:batch,time"], ["rnn.h"]),
    ],
)
def test_export_of_a_users_module_passes_and_names_its_states(
    kind: type[nn.Module], inputs: list[str], states: list[str], tmp_path: Path
) -> None:
    torch.manual_seed(1)
    bundle = export_bundle(Source(kind(), "user", {}), tmp_path / "b", inputs=[parse_input(text) for text in inputs])
    assert [state.name for state in bundle.manifest.states] == states
    assert bundle.manifest.gates is not None
    assert bundle.manifest.has_time


@pytest.mark.parametrize(
    "module",
    [
        nn.LSTM(3, 5, num_layers=3, batch_first=True),
        nn.GRU(3, 5, num_layers=2, bias=False),
        nn.RNN(3, 5, nonlinearity="relu", batch_first=True),
        nn.RNN(3, 5, num_layers=2, bias=False),
        nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Identity(), nn.GRU(4, 5)),
        nn.GRU(3, 5).double(),
    ],
    ids=["lstm", "gru", "rnn-relu", "rnn-no-bias", "sequential", "float64"],
)
def test_export_of_torchs_own_modules_passes(module: nn.Module, tmp_path: Path) -> None:
    export(module, tmp_path / "b")


def test_export_keeps_the_axis_order_of_the_modules_forward(tmp_path: Path) -> None:
    bundle = export_bundle(Source(user.Tagger(), "user", {}), tmp_path / "b")
    assert bundle.manifest.inputs[0].shape == ("batch", "time", 5)
    assert bundle.manifest.outputs[0].axes == ("batch", "time", "feature")


def test_export_of_a_last_step_gives_every_step(tmp_path: Path) -> None:
    module = user.LastStep().eval()
    spec = parse_input("tokens:int64:batch,time")
    golden = load_golden(export_bundle(Source(module, "user", {}), tmp_path / "b", inputs=[spec]))
    tokens = torch.from_numpy(np.ascontiguousarray(golden.inputs[0][:20].T))
    with torch.no_grad():
        expected = module(tokens).numpy()
    assert golden.record.outputs[0].shape == (256, 2, 4)
    assert np.abs(golden.record.outputs[0][19] - expected).max() < 1e-6


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (user.Bidirectional, r"'encoder.rnn' \(GRU\) is bidirectional.*bidirectional=False"),
        (user.Convolution, r"'conv' \(Conv1d\) cannot be exported: supported are .*LSTM"),
        (user.Projected, r"'rnn' \(LSTM\) has proj_size=2.*nn.Linear behind it"),
        (user.Deciding, r"Deciding cannot be traced: .*control flow; write its forward without decisions"),
        (user.MeanOverTime, r"mean.* of the module MeanOverTime cannot be exported; supported are"),
        (user.Twice, r"'rnn' \(GRU\) is called twice a step"),
        (user.GivenState, r"'rnn' \(GRU\) gets a state that forward computes"),
    ],
)
def test_export_of_what_cannot_be_a_step_graph_names_it(kind: type[nn.Module], told: str, tmp_path: Path) -> None:
    with pytest.raises(ExportRefused, match=told):
        export(kind(), tmp_path / "b")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("module", "inputs", "told"),
    [
        (user.Tagger(), ["x:float32:time,batch,5"], r"'rnn' \(LSTM\) takes batch,time,5, but gets time,batch,5"),
        (user.Tagger(), ["x:float32:batch,time,6"], r"takes batch,time,5, but gets batch,time,6"),
        (user.Tagger(), ["x:float32:batch,time,5", "z:float32:batch,time,5"], "takes x, but 2 inputs are given"),
        (user.TwoInputs(), ["x:float32:batch,time,2"], "needs the argument 'kind'"),
        (user.LastStep(), ["tokens:float32:batch,time"], r"'embedding' \(Embedding\) takes whole numbers"),
        (nn.Sequential(nn.GRU(3, 4), nn.Linear(4, 2)), [], "does not get one tensor as its first argument"),
    ],
)
def test_export_when_the_input_does_not_fit_says_what_the_module_takes(
    module: nn.Module, inputs: list[str], told: str, tmp_path: Path
) -> None:
    with pytest.raises(ExportRefused, match=told):
        export(module, tmp_path / "b", *inputs)
