"""The last changes to a foreign graph: a batch axis for every tensor, and axes that need not be fixed set free."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import GraphProto, NodeProto, helper, numpy_helper

from exporters.foreign.flow import bodies
from exporters.foreign.layout import Roles
from exporters.foreign.model import ForeignModel

AXES_AS_INPUT = 13
"""From this opset on Squeeze and Unsqueeze take their axes as an input."""


def with_batch(roles: Roles) -> Roles:
    """Roles with a batch axis: behind time, or first."""
    if "batch" in roles:
        return roles
    at = roles.index("time") + 1 if "time" in roles else 0
    return (*roles[:at], "batch", *roles[at:])


def add_batch_axes(model: ForeignModel, inputs: Mapping[str, Roles], outputs: Mapping[str, Roles]) -> ForeignModel:
    """A graph in which each of these tensors has a batch axis, of one stream where it had none."""
    lacking = {name: roles for name, roles in (*inputs.items(), *outputs.items()) if "batch" not in roles}
    if not lacking:
        return model
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    graph = proto.graph
    before, after = [], []
    for name, roles in lacking.items():
        inner = f"{name}/one stream"
        _rename(graph, name, inner)
        at = with_batch(roles).index("batch")
        if name in inputs:
            before.append(_axis_node(graph, "Squeeze", name, inner, at, model.opset))
        else:
            after.append(_axis_node(graph, "Unsqueeze", inner, name, at, model.opset))
        value = next(v for v in (*graph.input, *graph.output) if v.name == name)
        shape = value.type.tensor_type.shape
        sizes = [onnx.TensorShapeProto.Dimension.FromString(dim.SerializeToString()) for dim in shape.dim]
        sizes.insert(at, onnx.TensorShapeProto.Dimension(dim_value=1))
        del shape.dim[:]
        shape.dim.extend(sizes)
    nodes = [*before, *graph.node, *after]
    del graph.node[:]
    graph.node.extend(nodes)
    return ForeignModel(proto, model.name)


def free_axes(model: ForeignModel, axes: Mapping[str, Mapping[int, str]]) -> ForeignModel:
    """A graph whose declared inputs have any size on these axes; what it declares of others is forgotten."""
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    for value in proto.graph.input:
        for axis, name in axes.get(value.name, {}).items():
            value.type.tensor_type.shape.dim[axis].Clear()
            value.type.tensor_type.shape.dim[axis].dim_param = name
    del proto.graph.value_info[:]
    for value in proto.graph.output:
        value.type.tensor_type.ClearField("shape")
    return ForeignModel(proto, model.name)


def fold_constants(model: ForeignModel, constants: Mapping[str, np.ndarray]) -> ForeignModel:
    """A graph with these inputs as weights, simplified by ONNX Runtime: branches that they choose are taken."""
    import tempfile
    from pathlib import Path

    from edge_rnn.contract.ort import import_onnxruntime

    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    kept = [value for value in proto.graph.input if value.name not in constants]
    del proto.graph.input[:]
    proto.graph.input.extend(kept)
    proto.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    ort = import_onnxruntime()
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 4
    with tempfile.TemporaryDirectory() as folder:
        options.optimized_model_filepath = str(Path(folder) / "folded.onnx")
        ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
        folded = onnx.load(options.optimized_model_filepath)
    return ForeignModel(folded, model.name)


def _axis_node(graph: GraphProto, kind: str, name: str, to: str, axis: int, opset: int) -> NodeProto:
    if opset < AXES_AS_INPUT:
        return helper.make_node(kind, [name], [to], name=f"{to}/{kind}", axes=[axis])
    axes = f"{to}/axes"
    graph.initializer.append(numpy_helper.from_array(np.array([axis], np.int64), axes))
    return helper.make_node(kind, [name, axes], [to], name=f"{to}/{kind}")


def _rename(graph: GraphProto, name: str, to: str) -> None:
    """Another name for a tensor wherever it is made or used, in bodies too."""
    for node in graph.node:
        for names in (node.input, node.output):
            for index, each in enumerate(names):
                if each == name:
                    names[index] = to
        for body in bodies(node):
            _rename(body, name, to)
            for value in body.output:
                if value.name == name:
                    value.name = to
