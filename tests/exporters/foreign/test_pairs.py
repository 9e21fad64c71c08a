"""Which output is the next value of which input: proposed, proved, and a swap of h and c caught."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from edge_rnn.contract.errors import EdgeRnnError, ExportRefused, UsageError
from edge_rnn.contract.stepgraph import first_states, open_step_graph
from tests.exporters.foreign.graphs import (
    FEATURES,
    HIDDEN,
    Exposed,
    by_hand,
    cell_file,
    lstm_with_first_state,
    speaker_gru,
    switch_with_state,
    torch_file,
)
from tests.exporters.foreign.plain import bundle_run, import_graph, noise, open_plain

NAMES = ["in.1", "in.2", "in.3"], ["out.1", "out.2", "out.3"]


@pytest.fixture
def exposed(tmp_path: Path) -> Path:
    """An LSTM whose state goes in and out under names that say nothing, c before h."""
    inputs, outputs = NAMES
    samples = [torch.randn(7, 2, FEATURES), torch.randn(1, 2, HIDDEN), torch.randn(1, 2, HIDDEN)]
    free = {name: {0: "a", 1: "b"} for name in ("in.1", "out.1")}
    kept = {name: {1: "b"} for name in ("in.2", "in.3", "out.2", "out.3")}
    return torch_file(Exposed(), tmp_path / "m.onnx", samples, inputs, outputs, free | kept)


def test_pairs_of_an_operators_ports_are_found_whatever_the_names(exposed: Path, tmp_path: Path) -> None:
    imported = import_graph(exposed, tmp_path / "b")
    assert {(p.input, p.output) for p in imported.reading.wiring.pairs} == {("in.2", "out.3"), ("in.3", "out.2")}
    assert imported.reading.layout.inputs == {"in.1": ("time", "batch", FEATURES)}


def test_pairs_given_swapped_are_refused_with_the_right_one(exposed: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportRefused, match=r"'in.2' is the first h of node .* give --state in.2=out.3"):
        import_graph(exposed, tmp_path / "b", states=["in.2=out.2", "in.3=out.3"])
    assert not (tmp_path / "b").exists()


def test_pairs_of_a_decomposed_cell_given_swapped_are_refused(tmp_path: Path) -> None:
    path = cell_file(tmp_path / "m.onnx", ["x", "s", "r"], ["y", "u", "v"])  # u is c', v is h'
    with pytest.raises(ExportRefused, match=r"--state r=v is swapped.*give --state r=u --state s=v"):
        import_graph(path, tmp_path / "b", states=["s=u", "r=v"])
    imported = import_graph(path, tmp_path / "b", states=["s=v", "r=u"])
    assert [state.output for state in imported.bundle.manifest.states] == ["v", "u"]


def test_pairs_whose_names_are_wrong_are_not_believed(tmp_path: Path) -> None:
    path = cell_file(tmp_path / "m.onnx", ["x", "h", "c"], ["y", "h_out", "c_out"])  # the names of the outputs lie
    with pytest.raises(UsageError, match=r"'h_out' grows with 'c' as a cell's c does.*--state c=h_out --state h=c_out"):
        import_graph(path, tmp_path / "b")


def test_pairs_that_nothing_shows_are_asked_for(tmp_path: Path) -> None:
    path = cell_file(tmp_path / "m.onnx", ["x", "s", "r"], ["y", "u", "v"])
    with pytest.raises(UsageError, match=r"the input s .* may be a state.*give --state s="):
        import_graph(path, tmp_path / "b")


def test_pairs_inside_a_branch_follow_the_switch(tmp_path: Path) -> None:
    path = by_hand(tmp_path / "m.onnx", lambda: switch_with_state(hidden=False))
    rows = noise(30, 2, (FEATURES,))
    for rate in (8000, 16000):
        imported = import_graph(path, tmp_path / "b", constants=[f"sr={rate}"])
        manifest = imported.bundle.manifest
        assert [(s.input, s.output) for s in manifest.states] == [("memory_in", "memory_out")]
        assert manifest.constants[0].value == rate
        zeros = np.zeros((1, 2, HIDDEN), np.float32)
        (y,) = open_plain(path).run(["y"], {"x": rows, "sr": np.array(rate), "memory_in": zeros})
        assert np.abs(bundle_run(imported, rows) - y.swapaxes(0, 1)).max() <= 1e-6


def test_constant_without_batch_axis_is_repeated_for_each_stream(tmp_path: Path) -> None:
    path = by_hand(tmp_path / "m.onnx", speaker_gru)
    voice = np.linspace(-1, 1, FEATURES).astype(np.float32)
    np.save(tmp_path / "voice.npy", voice)
    imported = import_graph(path, tmp_path / "b", constants=[f"speaker=@{tmp_path / 'voice.npy'}", "gain=[2.0]"])
    speaker, gain = imported.bundle.manifest.constants
    assert speaker.batch_axis == 0
    assert gain.batch_axis is None
    rows, zeros = noise(30, 3, (FEATURES,)), np.zeros((1, 3, HIDDEN), np.float32)
    given = {"x": rows, "speaker": np.tile(voice, (3, 1)), "gain": np.array([2.0], np.float32), "h_in": zeros}
    (y,) = open_plain(path).run(["y"], given)
    assert np.abs(bundle_run(imported, rows) - y.swapaxes(0, 1)).max() <= 1e-6


def test_streams_that_take_turns_give_what_each_gives_alone(tmp_path: Path) -> None:
    imported = import_graph(by_hand(tmp_path / "m.onnx", lstm_with_first_state), tmp_path / "b")
    assert imported.bundle.manifest.batch_limit == 1
    step, rows = open_step_graph(imported.bundle), noise(6, 4, (FEATURES,))
    both = bundle_run(imported, rows)
    for stream in range(4):
        states = first_states(imported.bundle, 1)
        for at in range(6):
            outputs, states = step([rows[at : at + 1, stream : stream + 1]], states)
            assert outputs[0].reshape(-1).tobytes() == both[stream, at].tobytes()


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ({"states": ["in.2"]}, "expected IN=OUT"),
        ({"states": ["nothing=out.2"]}, "has no input 'nothing'; its inputs are in.1, in.2, in.3"),
        ({"states": ["in.2=nothing"]}, "has no output 'nothing'"),
        ({"states": ["in.2=out.2", "in.3=out.2"]}, "gives the output 'out.2' twice"),
        ({"states": ["in.1=out.2"]}, "cannot take what"),
        ({"axes": ["in.1=time,batch"]}, "has 3 axes"),
        ({"axes": ["in.1=time,time,5"]}, "time stands twice"),
        ({"axes": ["in.1=time,batch,6"]}, "has size 5, not 6"),
        ({"axes": ["in.9=time,batch,5"]}, "has no tensor 'in.9'"),
        ({"constants": ["sr=16000"]}, "has no input 'sr'"),
        ({"constants": ["in.2=no"]}, "give a number, a JSON array or @FILE.npy"),
        ({"constants": ["in.2=[1, 2]"]}, "the value has shape"),
        ({"output": "y"}, "has the outputs out.1, out.2, out.3"),
        ({"framing": "hop=512,context=64"}, "do not take windows of 576 samples"),
    ],
)
def test_flags_that_do_not_fit_are_refused_with_what_there_is(
    exposed: Path, tmp_path: Path, flags: dict[str, object], told: str
) -> None:
    with pytest.raises(EdgeRnnError) as refused:
        import_graph(exposed, tmp_path / "b", **flags)
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "b").exists()
