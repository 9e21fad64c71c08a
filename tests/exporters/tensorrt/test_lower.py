"""Products in fp16, bf16 and int8 on the CPU: near fp32's answers, with scales that all chunks share."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from edge_rnn.contract.bundle import Bundle
from edge_rnn.contract.errors import GateFailed
from edge_rnn.contract.plans import EnginePrecision
from exporters.decompose.chunk import ChunkGraph, decompose_bundle
from exporters.export import export_bundle
from exporters.tensorrt.lower import calibration_of, largest_inputs, lower_chunk, prove_lower
from tests.exporters.models import CELLS, Case, source

LOWER: tuple[EnginePrecision, ...] = ("fp16", "bf16", "int8")


@pytest.fixture(scope="module", params=["lstm", "gru", "jordan-tanh"])
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    assert request.param in CELLS
    return export_bundle(source(Case(request.param, 2, "regression")), tmp_path_factory.mktemp("lower") / "b")


def lowered(bundle: Bundle, precision: EnginePrecision, chunks: tuple[int, ...] = (1, 2, 4)) -> list[ChunkGraph]:
    largest = largest_inputs(bundle, calibration_of(bundle, None))
    return [lower_chunk(decompose_bundle(bundle, chunk), precision, largest, played=True) for chunk in chunks]


@pytest.mark.parametrize("precision", LOWER)
def test_lower_precision_is_near_the_answers_of_fp32(bundle: Bundle, precision: EnginePrecision) -> None:
    figure = prove_lower(bundle, lowered(bundle, precision), precision, calibration_of(bundle, None), 0.05)
    assert 0 < figure.drop < 0.05
    assert figure.max_abs_error > 0


def test_fp32_stays_as_it_is(bundle: Bundle) -> None:
    graph = decompose_bundle(bundle, 2)
    assert lower_chunk(graph, "fp32", {}) is graph


def matrices(graph: onnx.GraphProto) -> list[list[int]]:
    return sorted(list(tensor.dims) for tensor in graph.initializer if len(tensor.dims) == 2)


@pytest.mark.parametrize("played", [False, True])
def test_every_product_is_lowered_and_no_weight_is_left_twice(bundle: Bundle, played: bool) -> None:
    graph = decompose_bundle(bundle, 4)
    products = [n.output[0] for n in onnx.load_from_string(graph.graph).graph.node if n.op_type in ("MatMul", "Gemm")]
    half = onnx.load_from_string(lower_chunk(graph, "fp16", {}, played=played).graph).graph
    made = {node.output[0]: node for node in half.node}
    multiplied = [node for node in half.node if node.op_type in ("MatMul", "Gemm")]
    assert len(multiplied) == len(products) > 4
    assert all(made[name].op_type == "Cast" for node in multiplied for name in node.input)
    kinds = {made[name].attribute[0].i for node in multiplied for name in node.input}
    assert kinds == {TensorProto.FLOAT if played else TensorProto.FLOAT16}
    single = onnx.load_from_string(lower_chunk(decompose_bundle(bundle, 1), "fp16", {}, played=played).graph).graph
    assert matrices(half) == matrices(single)  # however many steps there are


def test_int8_has_symmetric_scales_by_output_that_all_chunks_share(bundle: Bundle) -> None:
    chunks = [onnx.load_from_string(each.graph).graph for each in lowered(bundle, "int8")]
    kept = [{t.name: numpy_helper.to_array(t) for t in graph.initializer} for graph in chunks]
    names = [name for name in kept[0] if name.endswith("/W.s8")]
    assert names
    for name in names:
        for values in kept:
            assert values[name].dtype == np.int8
            assert np.abs(values[name].astype(int)).max() == 127
            scales = name.replace("/W.s8", "/W.scales")
            assert (values[scales] == kept[0][scales]).all()
            assert values[scales].shape == values[name].shape[1:]
            inner = name.replace("/W.s8", "/x.scale")
            assert values[inner] == kept[0][inner] > 0
    zeros = [value for values in kept for name, value in values.items() if name.endswith((".zero", ".zeros"))]
    assert zeros
    assert not any(value.any() for value in zeros)


def test_activation_beyond_what_was_calibrated_is_cut_off_not_wrapped(bundle: Bundle) -> None:
    largest = largest_inputs(bundle, calibration_of(bundle, None))
    graphs = [lower_chunk(decompose_bundle(bundle, 1), "int8", {name: 0.02 * most for name, most in largest.items()})]
    with pytest.raises(GateFailed, match="golden vectors"):
        prove_lower(bundle, graphs, "int8", calibration_of(bundle, None), 0.05)


def test_answers_that_drop_too_far_are_refused(bundle: Bundle) -> None:
    with pytest.raises(GateFailed, match=r"int8 engines: answers drop by .*--max-drop allows 1e-06"):
        prove_lower(bundle, lowered(bundle, "int8"), "int8", calibration_of(bundle, None), 1e-6)
