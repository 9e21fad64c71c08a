"""Step graphs of fixed chunks from whole bundles: the house's models and the zoo's, held to the gates."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edge_rnn.contract.bundle import Bundle
from edge_rnn.contract.errors import ExportRefused, GateFailed, UsageError
from edge_rnn.contract.plans import binary_chunks
from edge_rnn.contract.signature import ConstantSpec
from edge_rnn.contract.stepgraph import StepGraph, first_states, open_step_graph
from edge_rnn.contract.verification import measure_bundle
from exporters.decompose.chunk import ChunkGraph, decompose_bundle
from exporters.decompose.proof import ChunkedStep, prove_chunks
from exporters.export import export_bundle
from exporters.inputs import parse_input
from exporters.source import Source
from tests.exporters.models import CELLS, Case, source
from tests.exporters.zoo.cases import EXPORTED, Kind

CHUNKS = (1, 2, 4, 8)
LOOPING = {"Loop", "Scan", "LSTM", "GRU", "RNN"}
MODELS = [Case(cell, layers, "regression") for cell in CELLS for layers in (1, 2)]


def graphs_of(bundle: Bundle) -> list[ChunkGraph]:
    """The chunks that a bundle takes."""
    return [decompose_bundle(bundle, chunk) for chunk in (CHUNKS if bundle.manifest.has_time else CHUNKS[:1])]


def check(bundle: Bundle) -> None:
    """Every graph is without loops, has the time fixed and the batch free, and passes."""
    graphs = graphs_of(bundle)
    for each in graphs:
        graph = onnx.load_from_string(each.graph).graph
        assert not LOOPING & {node.op_type for node in graph.node}
        shapes = {v.name: v.type.tensor_type.shape.dim for v in (*graph.input, *graph.output)}
        for spec in (*each.manifest.inputs, *each.manifest.outputs):
            if spec.time_axis is not None:
                assert shapes[spec.name][spec.time_axis].dim_value == each.chunk
            assert shapes[spec.name][spec.batch_axis].dim_param == "batch"
    figures = prove_chunks(bundle, graphs)
    assert len(figures) == 1 + len(graphs)
    assert all(figure.steps == 256 and figure.max_abs_error <= figure.bound for figure in figures.values())


@pytest.mark.parametrize("case", MODELS, ids=lambda case: case.name)
def test_decomposed_graph_of_every_model_passes_the_gates(case: Case, tmp_path: Path) -> None:
    check(export_bundle(source(case), tmp_path / "b"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", EXPORTED, ids=lambda kind: kind.name)
def test_decomposed_graph_of_every_kind_of_the_zoo_passes_the_gates(kind: Kind, tmp_path: Path) -> None:
    specs = [parse_input(text) for text in kind.inputs]
    check(export_bundle(Source(kind.module(), "zoo", {}), tmp_path / "b", inputs=specs, states=kind.states))


@pytest.fixture(scope="module")
def lstm(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return export_bundle(source(Case("lstm", 2, "regression")), tmp_path_factory.mktemp("lstm") / "b")


def test_decomposed_graph_keeps_streams_apart_and_chunks_alike(lstm: Bundle) -> None:
    figures = dict(measure_bundle(lstm, ChunkedStep(lstm, graphs_of(lstm))))
    assert set(figures) == {"parity", "isolation", "chunking", "parity in chunks"}


@pytest.mark.parametrize("wrong", range(len(CHUNKS)))
def test_decomposed_graph_with_a_wrong_weight_fails_the_gate_by_name(lstm: Bundle, wrong: int) -> None:
    graphs = graphs_of(lstm)
    model = onnx.load_from_string(graphs[wrong].graph)
    weight = next(tensor for tensor in model.graph.initializer if tensor.name.endswith("/R"))
    value = numpy_helper.to_array(weight).copy()
    value[0, 0] += 0.01
    weight.CopyFrom(numpy_helper.from_array(value, weight.name))
    graphs[wrong] = ChunkGraph(graphs[wrong].manifest, graphs[wrong].chunk, model.SerializeToString())
    with pytest.raises(GateFailed, match=rf"native operators, chunks of {CHUNKS[wrong]}: (output|state)"):
        prove_chunks(lstm, graphs)


@pytest.mark.parametrize("largest", [1, 4, 8])
def test_binary_chunks_make_every_number_of_steps(largest: int) -> None:
    for steps in range(1, 40):
        found = binary_chunks(steps, largest)
        assert sum(found) == steps
        assert found == sorted(found)
        assert all(size in (1, 2, 4, 8) and size <= largest for size in found)
        assert all(found.count(size) == 1 for size in set(found) if size < largest)


@pytest.mark.parametrize("chunk", [0, 3, -2])
def test_chunk_that_is_no_power_of_two_is_refused(lstm: Bundle, chunk: int) -> None:
    with pytest.raises(UsageError, match=f"has {chunk} steps, expected .* power of two"):
        decompose_bundle(lstm, chunk)


def test_constant_stands_in_the_decomposed_graph(lstm: Bundle, tmp_path: Path) -> None:
    model = onnx.load(str(lstm.graph_path))
    last = next(node for node in model.graph.node if node.output[0] == "y")
    last.output[0] = "y.before"
    model.graph.node.append(helper.make_node("Mul", ["y.before", "c"], ["y"]))
    model.graph.input.append(helper.make_tensor_value_info("c", TensorProto.FLOAT, []))
    (tmp_path / "step.onnx").write_bytes(model.SerializeToString())
    constant = ConstantSpec(name="c", dtype="float32", value=3.0)
    bundle = Bundle(tmp_path, msgspec.structs.replace(lstm.manifest, constants=(constant,)))
    made = decompose_bundle(bundle, 4)
    assert made.manifest.constants == ()
    assert "c" not in {value.name for value in onnx.load_from_string(made.graph).graph.input}
    x = np.random.default_rng(6).standard_normal((4, 2, 5)).astype(np.float32)
    states = first_states(lstm, 2)
    found, plain = StepGraph(made.manifest, made.graph)([x], states)[0][0], open_step_graph(lstm)([x], states)[0][0]
    assert np.abs(found - 3 * plain).max() <= 1e-5 * np.abs(plain).max()
    assert np.abs(plain).max() > 0


def test_graph_with_a_loop_of_unknown_length_is_refused_by_name(lstm: Bundle, tmp_path: Path) -> None:
    model = onnx.load(str(lstm.graph_path))
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", ["more"], ["again"]), helper.make_node("Identity", ["v"], ["w"])],
        "body",
        [value("i", TensorProto.INT64, []), value("more", TensorProto.BOOL, []), value("v", TensorProto.FLOAT, None)],
        [value("again", TensorProto.BOOL, []), value("w", TensorProto.FLOAT, None)],
    )
    model.graph.node.append(helper.make_node("Loop", ["", "", "x"], ["unused"], name="forever", body=body))
    (tmp_path / "step.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ExportRefused, match=r"node 'forever' \(Loop\)"):
        decompose_bundle(Bundle(tmp_path, lstm.manifest), 1)
