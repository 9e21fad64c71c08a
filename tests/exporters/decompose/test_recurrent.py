"""Each recurrent operator of ONNX, with each of its options, beside its decomposition."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edge_rnn.contract.errors import ExportRefused
from exporters.decompose.activations import PARAMETERS, PLAIN
from exporters.decompose.recurrent import layer_of
from exporters.decompose.unroll import unroll_scan
from tests.exporters.decompose.graphs import GATES, HIDDEN, decomposed, native, random_feed, run

CHUNKS = (1, 2, 8)
OPTIONS: list[tuple[str, dict[str, Any]]] = [
    ("LSTM", {}),
    ("LSTM", {"bias": False}),
    ("LSTM", {"first": False}),
    ("LSTM", {"clip": 0.4}),
    ("LSTM", {"input_forget": 1}),
    ("LSTM", {"activations": ["HardSigmoid", "Softsign", "Relu"]}),
    ("LSTM", {"activations": ["Sigmoid", "LeakyRelu", "Elu"], "activation_alpha": [0.3, 0.7]}),
    ("GRU", {}),
    ("GRU", {"linear_before_reset": 1}),
    ("GRU", {"bias": False, "linear_before_reset": 1}),
    ("GRU", {"first": False}),
    ("GRU", {"first": False, "linear_before_reset": 1}),
    ("GRU", {"clip": 0.4, "linear_before_reset": 1}),
    ("GRU", {"clip": 0.4}),
    ("GRU", {"activations": ["HardSigmoid", "Softsign"], "activation_alpha": [0.3], "activation_beta": [0.4]}),
    ("RNN", {}),
    ("RNN", {"first": False, "bias": False}),
    ("RNN", {"clip": 0.4}),
    *(
        ("RNN", {"activations": [name]})
        for name in (*PLAIN, *PARAMETERS)
        if None not in PARAMETERS.get(name, {}).values()
    ),
    ("RNN", {"activations": ["ThresholdedRelu"], "activation_alpha": [0.8]}),
    ("RNN", {"activations": ["Affine"], "activation_alpha": [0.5], "activation_beta": [0.1]}),
    ("RNN", {"activations": ["ScaledTanh"], "activation_alpha": [1.2], "activation_beta": [0.6]}),
]


@pytest.mark.parametrize("steps", CHUNKS)
@pytest.mark.parametrize(("kind", "options"), OPTIONS, ids=lambda value: str(value))
def test_decomposed_operator_gives_what_the_operator_gives(kind: str, options: dict[str, Any], steps: int) -> None:
    model = native(kind, steps=steps, **options)
    made = decomposed(model, steps)
    for batch in (1, 5):
        feed = random_feed(model, batch)
        expected, found = run(model, feed), run(made, feed)
        assert expected.keys() == found.keys()
        for name, value in expected.items():
            assert value.shape == found[name].shape
            assert np.abs(value - found[name]).max() <= 1e-6 * max(1.0, float(np.abs(value).max())), name


@pytest.mark.parametrize("kind", GATES)
def test_decomposed_operator_multiplies_the_whole_chunk_at_once(kind: str) -> None:
    made = decomposed(native(kind, steps=8), 8)
    kinds = [node.op_type for node in made.graph.node]
    again = kind == "GRU"  # reset before the product makes a second one with the state
    assert kinds.count("MatMul") == 1 + 8 * (2 if again else 1)
    (whole,) = [node for node in made.graph.node if node.op_type == "MatMul" and node.input[1].endswith("/W")]
    shapes = {v.name: v for v in onnx.shape_inference.infer_shapes(made, strict_mode=True).graph.value_info}
    assert [d.dim_value for d in shapes[whole.output[0]].type.tensor_type.shape.dim][1:] == [GATES[kind] * HIDDEN]
    assert not {"Loop", "Scan", *GATES} & set(kinds)


def test_decomposed_clip_is_felt() -> None:
    """The clip of the test above bounds something."""
    feed = random_feed(native("LSTM", steps=8), 5)
    plain, clipped = (run(native("LSTM", steps=8, **given), feed)["Y"] for given in ({}, {"clip": 0.4}))
    assert np.abs(plain - clipped).max() > 0.01


def _node(kind: str, given: list[str], **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, given, ["Y"], name="cell", hidden_size=HIDDEN, **attributes)


@pytest.mark.parametrize(
    ("node", "told"),
    [
        (_node("LSTM", ["x", "W", "R", "", "", "h", "c", "P"]), "it has peepholes"),
        (_node("GRU", ["x", "W", "R", "", "lengths"]), "lengths of sequences"),
        (_node("GRU", ["x", "W", "R"], direction="reverse"), "it is not forward"),
        (_node("RNN", ["x", "W", "R"], layout=1), "batch-major"),
        (_node("RNN", ["x", "made", "R"]), "weights are not constant"),
        (_node("RNN", ["x", "W", "R"], activations=["Swish"]), "'Swish' is none of Affine"),
        (_node("RNN", ["x", "W", "R"], activations=["Affine"]), "Affine has no alpha"),
        (_node("GRU", ["x", "W", "R"], activations=["Tanh"]), "has 1 activations, expected 2"),
    ],
)
def test_operator_that_cannot_be_decomposed_is_refused_by_name(node: onnx.NodeProto, told: str) -> None:
    kept = {"W": np.zeros((1, 4, 3), np.float32), "R": np.zeros((1, 4, 4), np.float32)}
    with pytest.raises(ExportRefused, match=rf"node 'cell' \({node.op_type}\) .*{told}"):
        layer_of(node, kept)


@pytest.mark.parametrize(("read", "written"), [(0, 0), (0, 1), (1, 0), (1, 1)])
@pytest.mark.parametrize("axis", [0, 1])
def test_scan_written_out_gives_what_the_scan_gives(read: int, written: int, axis: int) -> None:
    """A decayed sum, read and written in either direction along either axis, with a weight of the body's own."""
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Mul", ["s", "k"], ["old"]), helper.make_node("Add", ["old", "row"], ["new"])],
        "body",
        [value("s", TensorProto.FLOAT, ["batch", 3]), value("row", TensorProto.FLOAT, ["batch", 3])],
        [value("new", TensorProto.FLOAT, ["batch", 3]), value("old", TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(np.float32([0.5, 0.7, 0.9]), "k")],
    )
    node = helper.make_node(
        "Scan",
        ["first", "x"],
        ["last", "y"],
        body=body,
        num_scan_inputs=1,
        scan_input_axes=[axis],
        scan_output_axes=[axis],
        scan_input_directions=[read],
        scan_output_directions=[written],
    )
    shape = [4, "batch", 3] if axis == 0 else ["batch", 4, 3]
    inputs = [value("first", TensorProto.FLOAT, ["batch", 3]), value("x", TensorProto.FLOAT, shape)]
    outputs = [value("last", TensorProto.FLOAT, ["batch", 3]), value("y", TensorProto.FLOAT, shape)]
    added = unroll_scan(node, 4)
    whole, apart = (
        helper.make_model(
            helper.make_graph(nodes, "sum", inputs, outputs, weights),
            opset_imports=[helper.make_opsetid("", 17)],
            ir_version=8,
        )
        for nodes, weights in (([node], []), (added.nodes, added.weights))
    )
    onnx.checker.check_model(apart, full_check=True)
    assert all(each.op_type != "Scan" for each in apart.graph.node)
    feed = random_feed(whole, 2)
    expected, found = run(whole, feed), run(apart, feed)
    for name, result in expected.items():
        assert result.tobytes() == found[name].tobytes()
