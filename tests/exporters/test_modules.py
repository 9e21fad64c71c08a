"""Modules with a forward of their own: emitted and proved, or refused by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from edge_rnn.contract.errors import EdgeRnnError, ExportRefused, GateFailed, UsageError
from edge_rnn.contract.golden import load_golden
from edge_rnn.contract.stepgraph import first_states, open_step_graph
from exporters.export import export_bundle
from exporters.inputs import parse_input
from exporters.source import Source
from tests.exporters import user_modules as user
from tests.exporters.zoo import loops, recurrent


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
    ("kind", "inputs", "told"),
    [
        (user.Bidirectional, [], r"'encoder.rnn' \(GRU\) is bidirectional.*bidirectional=False"),
        (user.Convolution, ["x:float32:batch,5,time"], r"'conv' \(Conv1d\).*-2 steps.*pad on the left"),
        (user.Deciding, [], r"\(Deciding\) takes the sum over the batch.*torch.where"),
        (user.Packed, [], r"\(Packed\) packs sequences by length"),
        (user.Reading, [], r"\(Reading\) reads values out of a tensor \(\.tolist\(\)\)"),
        (user.Choosing, [], r"\(Choosing\) decides or counts on a value of its input in Python"),
        (user.Noise, [], r"Noise gives another result when it runs again"),
        (user.Unknown, [], r"\(Unknown\) uses the operation 'linalg_inv_ex'.*def step\(self, x, state\)"),
        (user.Aliased, [], r"\(Aliased\).*in place"),
        (user.Double, [], r"Double itself fails .*; it runs in fp32 here, so let it keep to the type"),
    ],
)
def test_export_of_what_cannot_be_a_step_graph_names_it(
    kind: type[nn.Module], inputs: list[str], told: str, tmp_path: Path
) -> None:
    with pytest.raises(ExportRefused, match=told):
        export(kind(), tmp_path / "b", *inputs)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("module", "inputs", "told"),
    [
        (user.Tagger(), ["x:float32:time,batch,5"], r"'rnn' \(LSTM\) takes batch,time,5, but gets time,batch,5"),
        (
            user.Tagger(),
            ["x:float32:batch,time,6"],
            r"itself fails on x \[3, 9, 6\]: .*Expected 5, got 6; say how its input",
        ),
        (user.Tagger(), ["x:float32:batch,time,5", "z:float32:batch,time,5"], "takes x, but 2 inputs are given"),
        (user.TwoInputs(), ["x:float32:batch,time,2"], "needs the argument 'kind'"),
        (user.LastStep(), ["tokens:float32:batch,time"], r"itself fails on tokens .*; say how its input"),
        (nn.Sequential(nn.GRU(3, 4), nn.Linear(4, 2)), [], "Sequential itself fails on x .*tuple"),
    ],
)
def test_export_when_the_input_does_not_fit_says_what_the_module_takes(
    module: nn.Module, inputs: list[str], told: str, tmp_path: Path
) -> None:
    with pytest.raises(ExportRefused, match=told):
        export(module, tmp_path / "b", *inputs)


@pytest.mark.parametrize(
    ("kind", "states"),
    [
        (user.Projected, ["rnn.h", "rnn.c"]),
        (user.MeanOverTime, ["step", "rnn.h", "meanovertime.sum"]),
        (user.Twice, ["rnn.h", "rnn.h.2"]),
    ],
)
def test_export_of_projected_pooled_and_shared_layers_names_their_states(
    kind: type[nn.Module], states: list[str], tmp_path: Path
) -> None:
    bundle = export_bundle(Source(kind(), "user", {}), tmp_path / "b")
    assert [state.name for state in bundle.manifest.states] == states


def test_export_of_a_mean_over_time_names_what_it_gives_instead(tmp_path: Path) -> None:
    bundle = export_bundle(Source(user.MeanOverTime(), "user", {}), tmp_path / "b")
    (output,) = bundle.manifest.outputs
    assert output.note == "mean over the steps so far"
    assert output.axes == ("time", "batch", "feature")
    (total,) = (state for state in bundle.manifest.states if state.name.endswith(".sum"))
    assert total.dtype == "float64"


def test_export_of_learnt_first_states_keeps_them_in_the_bundle(tmp_path: Path) -> None:
    torch.manual_seed(3)
    module = recurrent.Learned()
    bundle = export_bundle(Source(module, "user", {}), tmp_path / "b", inputs=[parse_input("x:float32:batch,time,4")])
    first = {state.name: bundle.initial_state(state) for state in bundle.manifest.states}
    assert "initial.npz" in bundle.manifest.files
    assert np.array_equal(first["rnn.1.h"], module.h0.detach().numpy()[1])
    assert np.array_equal(first["rnn.0.c"], module.c0.detach().numpy()[0])


def test_export_of_a_token_outside_the_vocabulary_spoils_its_own_stream_only(tmp_path: Path) -> None:
    bundle = export_bundle(
        Source(user.LastStep(), "user", {}), tmp_path / "b", inputs=[parse_input("tokens:int64:batch,time")]
    )
    step = open_step_graph(bundle)
    tokens = np.asarray([[3, -1, 11, 3]], np.int64)
    (y,), _ = step([tokens], first_states(bundle, 4))
    assert np.isfinite(y[0, 0]).all()
    assert np.isnan(y[0, 1:3]).all()
    assert np.array_equal(y[0, 0], y[0, 3])


def test_export_with_a_state_that_forward_does_not_give_back_says_so(tmp_path: Path) -> None:
    spec = [parse_input("x:float32:batch,5")]
    for states, told in (
        ({"hidden": 1}, "--state hidden=1: the module OneStep takes x, h; name one of these"),
        ({"h": 5}, "--state names result 5, but forward returns 2"),
        ({}, "needs the argument 'h'; give it an --input, a default, or say that it is a state: --state h=INDEX"),
    ):
        with pytest.raises(EdgeRnnError, match=told):
            export_bundle(Source(loops.OneStep(), "user", {}), tmp_path / "b", inputs=spec, states=states)


def test_export_of_a_cell_with_h_and_c_apart_takes_them_by_name_and_tells_a_swap(tmp_path: Path) -> None:
    spec, source = [parse_input("x:float32:batch,5")], Source(user.CellApart(), "user", {})
    bundle = export_bundle(source, tmp_path / "b", inputs=spec, states={"h": 1, "c": 2})
    assert [state.name for state in bundle.manifest.states] == ["cellapart.h", "cellapart.c"]
    told = "--state h=2 is swapped: h is the h of the submodule 'cell', result 2 its new c; give --state h=1"
    with pytest.raises(UsageError, match=told):
        export_bundle(source, tmp_path / "c", inputs=spec, states={"h": 2, "c": 1})
    assert not (tmp_path / "c").exists()


def test_export_of_weights_that_are_not_numbers_says_which(tmp_path: Path) -> None:
    module = user.Tagger()
    with torch.no_grad():
        module.rnn.weight_hh_l0[3, 2] = torch.nan
    with pytest.raises(ExportRefused, match=r"the weight 'rnn\.weight_hh_l0' of the module Tagger holds NaN"):
        export(module, tmp_path / "b", "x:float32:batch,time,5")


def test_export_of_weights_without_values_says_what_to_do(tmp_path: Path) -> None:
    lazy, meta = nn.Sequential(nn.LazyLinear(5), nn.GRU(5, 4)), nn.GRU(5, 4, device="meta")
    for module, name in ((lazy, "0.weight"), (meta, "weight_ih_l0")):
        with pytest.raises(ExportRefused, match=f"the weight '{name}' .* has no values yet; run the module once"):
            export(module, tmp_path / "b", "x:float32:time,batch,5")


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_export_of_a_layer_that_torch_jit_compiled_says_which(tmp_path: Path) -> None:
    with pytest.raises(ExportRefused, match=r"the submodule 'rnn' is compiled by torch\.jit.*export the module that"):
        export(user.Compiled(), tmp_path / "b", "x:float32:batch,time,5")


def test_export_of_a_forward_that_takes_its_input_by_name_only(tmp_path: Path) -> None:
    bundle = export(user.ByName(), tmp_path / "b", "x:float32:batch,time,5")
    assert [state.name for state in bundle.manifest.states] == ["rnn.h"]


def test_export_of_a_module_that_gives_nan_says_that_it_is_its_own(tmp_path: Path) -> None:
    with pytest.raises(GateFailed, match="not finite; the module itself gives values that are not finite here"):
        export(user.Logarithm(), tmp_path / "b", "x:float32:batch,time,5")


def test_export_of_a_loop_over_a_hundred_steps_of_delay_is_refused_not_wrong(tmp_path: Path) -> None:
    """A loop that changes its mind after the steps that were followed: the gates see it."""
    with pytest.raises(GateFailed, match=r"parity: output 'y' at step 101 of 256"):
        export(user.LateChange(), tmp_path / "b", "x:float32:batch,time,5")
    assert list(tmp_path.iterdir()) == []
