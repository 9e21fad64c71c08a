"""Small graphs around one recurrent operator, and the same decomposed."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from exporters.decompose.recurrent import decompose_layer, layer_of

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
STATES = {"LSTM": ("h", "c"), "GRU": ("h",), "RNN": ("h",)}
HIDDEN, FEATURES = 7, 3


def native(kind: str, *, steps: int, bias: bool = True, first: bool = True, **attributes: Any) -> onnx.ModelProto:
    """``x`` and first states to ``Y`` and last states, by ONNX's operator, with random weights."""
    rng, gates = np.random.default_rng(len(kind) + steps), GATES[kind] * HIDDEN
    weights = {"W": (1, gates, FEATURES), "R": (1, gates, HIDDEN)} | ({"B": (1, 2 * gates)} if bias else {})
    kept = [
        numpy_helper.from_array((0.6 * rng.standard_normal(shape)).astype(np.float32), name)
        for name, shape in weights.items()
    ]
    firsts = STATES[kind] if first else ()
    node = helper.make_node(
        kind,
        ["x", "W", "R", "B" if bias else "", "", *firsts],
        ["Y", *(f"last.{name}" for name in STATES[kind])],
        name="cell",
        hidden_size=HIDDEN,
        **attributes,
    )
    shapes = {"x": [steps, "batch", FEATURES]} | {name: [1, "batch", HIDDEN] for name in firsts}
    results = {"Y": [steps, 1, "batch", HIDDEN]} | {f"last.{name}": [1, "batch", HIDDEN] for name in STATES[kind]}
    inputs, outputs = (
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in each.items()]
        for each in (shapes, results)
    )
    graph = helper.make_graph([node], "cell", inputs, outputs, kept)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def decomposed(model: onnx.ModelProto, steps: int) -> onnx.ModelProto:
    """The same graph with its one node decomposed."""
    kept = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    (node,) = model.graph.node
    added = decompose_layer(node, layer_of(node, kept), steps)
    graph = helper.make_graph(added.nodes, "cell", model.graph.input, model.graph.output, added.weights)
    made = helper.make_model(graph, opset_imports=model.opset_import, ir_version=8)
    onnx.checker.check_model(made, full_check=True)
    return made


def run(model: onnx.ModelProto, feed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """All outputs by name."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    wanted = [node.name for node in session.get_outputs()]
    return dict(zip(wanted, session.run(wanted, feed), strict=True))


def random_feed(model: onnx.ModelProto, batch: int, scale: float = 1.0) -> dict[str, np.ndarray]:
    """Random inputs for ``batch`` streams."""
    rng = np.random.default_rng(3)
    shapes = {v.name: [d.dim_value or batch for d in v.type.tensor_type.shape.dim] for v in model.graph.input}
    return {name: (scale * rng.standard_normal(shape)).astype(np.float32) for name, shape in shapes.items()}
