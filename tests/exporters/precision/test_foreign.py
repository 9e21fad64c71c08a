"""Files that others exported in another precision: weights stand in branches and Constant nodes there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edge_rnn.contract.bundle import Bundle
from edge_rnn.contract.errors import ExportRefused
from edge_rnn.contract.stepgraph import first_states, open_step_graph
from edge_rnn.contract.verification import verify_bundle
from exporters.precision.convert import Wanted, convert_bundle
from exporters.precision.half import halve_weights
from tests.exporters.foreign.packages import FILES, installed_path
from tests.exporters.foreign.plain import import_file


def imported(ending: str, path: Path) -> Bundle:
    """The first of the silero-vad package's files that has this ending."""
    file = next(file for file in FILES if file.name.endswith(ending))
    return import_file(installed_path(file), file, path).bundle


def probabilities(bundle: Bundle, x: np.ndarray) -> np.ndarray:
    step, states = open_step_graph(bundle), first_states(bundle, 1)
    found = []
    for row in x:
        outputs, states = step([row[None]], states)
        found.append(outputs[0])
    return np.concatenate(found)


def test_fp16_halves_the_weights_inside_branches(tmp_path: Path) -> None:
    exact = imported("/silero_vad.onnx", tmp_path / "fp32")
    half = convert_bundle(exact, tmp_path / "fp16", Wanted("fp16"))
    assert half.graph_path.stat().st_size < 0.55 * exact.graph_path.stat().st_size
    x = (0.1 * np.random.default_rng(0).standard_normal((20, 1, exact.manifest.width))).astype(np.float32)
    found, expected = probabilities(half, x), probabilities(exact, x)
    assert 0 < np.abs(found - expected).max() < 0.01
    verify_bundle(half)


def test_fp16_of_a_graph_without_weights_is_refused() -> None:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 4]) for name in "xy")
    few = numpy_helper.from_array(np.ones(4, np.float32), "few")
    graph = helper.make_graph([helper.make_node("Add", ["x", "few"], ["y"])], "g", [x], [y], [few])
    with pytest.raises(ExportRefused, match=r"nothing to halve: .* 256 numbers or more"):
        halve_weights(helper.make_model(graph).SerializeToString())


def test_fp16_of_a_weight_that_a_file_of_old_names_among_its_inputs_runs() -> None:
    import onnxruntime

    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 16]) for name in "xy")
    weight = np.random.default_rng(1).standard_normal((16, 16)).astype(np.float32)
    inputs = [x, helper.make_tensor_value_info("w", TensorProto.FLOAT, [16, 16])]
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    graph = helper.make_graph([node], "old", inputs, [y], [numpy_helper.from_array(weight, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=3)
    data = halve_weights(model.SerializeToString())
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    value = np.eye(16, dtype=np.float32)
    assert np.array_equal(session.run(None, {"x": value})[0], weight.astype(np.float16).astype(np.float32))


def test_int8_of_a_graph_whose_axes_are_constant_nodes_is_made(tmp_path: Path) -> None:
    exact = imported("/silero_vad_16k_sequence.onnx", tmp_path / "fp32")
    assert any(node.op_type == "Constant" for node in onnx.load(str(exact.graph_path)).graph.node)
    small = convert_bundle(exact, tmp_path / "int8", Wanted("int8", weight_bits=7))
    assert "LSTM" not in {node.op_type for node in onnx.load(str(small.graph_path)).graph.node}
    verify_bundle(small)


def test_int8_of_an_operator_inside_a_branch_is_refused_and_named(tmp_path: Path) -> None:
    exact = imported("/silero_vad_half.onnx", tmp_path / "fp32")
    with pytest.raises(
        ExportRefused, match=r"node '/decoder/rnn/LSTM' \(LSTM\) stays in fp32: it stands inside If.* --precision fp16"
    ):
        convert_bundle(exact, tmp_path / "int8", Wanted("int8", weight_bits=7))
