"""Graphs that are wrong on purpose: each is caught by the gate for it, and nothing is written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper

import exporters.export
from edge_rnn.contract.errors import GateFailed, UsageError
from edge_rnn.contract.verification import verify_bundle
from exporters.export import export_bundle
from exporters.lift import Lifted, lift
from tests.exporters.models import Case, source

Sabotage = Callable[[onnx.ModelProto], None]


def swap_states(model: onnx.ModelProto) -> None:
    """h and c have the same shape: swapped, the graph still runs."""
    nodes = {node.output[0]: node for node in model.graph.node}
    h, c = nodes["rnn.0.h.next"], nodes["rnn.0.c.next"]
    h.input[0], c.input[0] = c.input[0], h.input[0]


def change_a_weight(model: onnx.ModelProto) -> None:
    weight = next(tensor for tensor in model.graph.initializer if tensor.name == "head.weight")
    value = numpy_helper.to_array(weight).copy()
    value[0, 0] += 1e-3
    weight.CopyFrom(numpy_helper.from_array(value, "head.weight"))


def leak_over_streams(model: onnx.ModelProto) -> None:
    """Take the batch's mean c away and put a stream's own back: equal streams see no difference."""
    _between(model, "rnn.0.c.next", axis=1, share=1e-3)


def depend_on_chunks(model: onnx.ModelProto) -> None:
    """The same over time, at the output: in single steps there is no difference."""
    _between(model, "y", axis=0, share=1e-3)


def overflow(model: onnx.ModelProto) -> None:
    weight = next(tensor for tensor in model.graph.initializer if tensor.name == "head.bias")
    weight.CopyFrom(numpy_helper.from_array(np.full(weight.dims, np.inf, np.float32), "head.bias"))


def _between(model: onnx.ModelProto, output: str, *, axis: int, share: float) -> None:
    """``v + share * (v - mean(v, axis))`` before an output."""
    graph = model.graph
    node = next(node for node in graph.node if node.output[0] == output)
    source_name = node.input[0]
    graph.initializer.append(numpy_helper.from_array(np.float32(share), "share"))
    added = [
        helper.make_node("ReduceMean", [source_name], ["mean"], axes=[axis], keepdims=1),
        helper.make_node("Sub", [source_name, "mean"], ["apart"]),
        helper.make_node("Mul", ["apart", "share"], ["small"]),
        helper.make_node("Add", [source_name, "small"], ["sabotaged"]),
    ]
    node.input[0] = "sabotaged"
    at = list(graph.node).index(node)
    rest = list(graph.node)
    del graph.node[:]
    graph.node.extend([*rest[:at], *added, *rest[at:]])


@pytest.mark.parametrize(
    ("sabotage", "told"),
    [
        (swap_states, r"parity: state 'rnn\.0\.[hc]' after step 1 of 256 \(stream 0\) is off by \d"),
        (change_a_weight, r"parity: output 'y' at step 1 of 256 \(stream 0\) is off by \d"),
        (depend_on_chunks, r"chunking: output 'y' at step 1 of 256 \(stream 0\) is off by \d.*how time is split"),
        (overflow, r"parity: output 'y' at step 1 of 256 \(stream 0\) is not finite"),
    ],
)
def test_export_when_the_graph_is_wrong_the_right_gate_says_where_and_nothing_is_written(
    sabotage: Sabotage, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _install(monkeypatch, sabotage)
    with pytest.raises(GateFailed, match=rf"{told}.*nothing was written"):
        export_bundle(source(Case("lstm", 1, "regression")), tmp_path / "b")
    assert list(tmp_path.iterdir()) == []


def test_export_when_state_leaks_over_streams_isolation_or_parity_finds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _install(monkeypatch, leak_over_streams)
    with pytest.raises(GateFailed, match=r"state 'rnn\.0\.c' after step 1 of 256"):
        export_bundle(source(Case("lstm", 1, "regression")), tmp_path / "b")
    monkeypatch.setattr(exporters.export, "BATCH", 1)  # one stream has no neighbours: parity cannot see the leak
    with pytest.raises(GateFailed, match=r"isolation: .* of 256 \(stream 0\) is off by .* on its neighbours"):
        export_bundle(source(Case("lstm", 1, "regression")), tmp_path / "b")
    assert list(tmp_path.iterdir()) == []


def test_export_when_a_gate_fails_leaves_an_older_bundle_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = export_bundle(source(Case("lstm", 1, "regression")), tmp_path / "b")
    files = {file.name: file.read_bytes() for file in before.path.iterdir()}
    _install(monkeypatch, swap_states)
    with pytest.raises(GateFailed):
        export_bundle(source(Case("lstm", 1, "regression")), tmp_path / "b")
    assert {file.name: file.read_bytes() for file in before.path.iterdir()} == files


def _install(monkeypatch: pytest.MonkeyPatch, sabotage: Sabotage) -> None:
    """Alter every graph that the export lifts."""

    def wrong(*arguments: object) -> Lifted:
        lifted = lift(*arguments)  # type: ignore[arg-type]
        model = onnx.load_from_string(lifted.graph)
        sabotage(model)
        return replace(lifted, graph=model.SerializeToString())

    monkeypatch.setattr(exporters.export, "lift", wrong)


@pytest.mark.parametrize(
    ("cell", "scale", "remedy"),
    [("lstm", 4.0, "it is chaotic, train it with smaller"), ("gru", 4.0, "--tolerance 1e-05 allows for that")],
)
def test_export_when_the_module_makes_its_own_rounding_grow_says_so(
    cell: str, scale: float, remedy: str, tmp_path: Path
) -> None:
    made = source(Case(cell, 2, "classification"), hidden=64)
    with torch.no_grad():
        for parameter in made.module.layers.parameters():  # type: ignore[union-attr]
            parameter.mul_(scale)
    with pytest.raises(GateFailed, match=rf"parity: .* the module's own rounding grows to .*: {remedy}"):
        export_bundle(made, tmp_path / "b")
    assert list(tmp_path.iterdir()) == []
    if "tolerance" in remedy:
        bundle = export_bundle(made, tmp_path / "b", tolerance=1e-5)
        assert bundle.manifest.gates is not None
        assert bundle.manifest.gates.tolerance == 1e-5
        assert verify_bundle(bundle).tolerance == 1e-5


@pytest.mark.parametrize("tolerance", [0.0, 1e-7, 1.0, float("nan")])
def test_export_when_the_tolerance_is_out_of_range_refuses(tolerance: float, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"give one from 1e-06 to 0\.001"):
        export_bundle(source(Case("gru", 1, "regression")), tmp_path / "b", tolerance=tolerance)
