"""Weights kept in fp16 and computed with in fp32: half the size on any device, fp32's speed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import onnx
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

from edge_rnn.contract.errors import ExportRefused
from exporters.foreign.flow import attribute_of, bodies

FEWEST_WEIGHTS = 256
LARGEST = float(np.finfo(np.float16).max)


def halve_weights(graph: bytes) -> bytes:
    """The graph with its weights as fp16, in bodies too, cast once when it is opened.

    Raises `ExportRefused` for a weight that is too large, and where there is none to halve.
    """
    model = onnx.load_from_string(graph)
    if not _halve(model.graph):
        raise ExportRefused(
            f"nothing to halve: the graph has no constant of {FEWEST_WEIGHTS} numbers or more in fp32; stay with fp32"
        )
    return bytes(model.SerializeToString(deterministic=True))


def _halve(graph: GraphProto) -> int:
    """Halve the weights of a graph and its bodies; how many there were."""
    count = 0
    casts = []
    inputs = {value.name: value for value in graph.input}
    for tensor in graph.initializer:
        if _is_large(tensor):
            casts.append(_cast(tensor.name))
            if tensor.name in inputs:  # files of old name a weight among the inputs too
                graph.input.remove(inputs[tensor.name])
            tensor.CopyFrom(_half(tensor, f"{tensor.name}/fp16"))
            count += 1
    nodes = [*casts, *_halved_constants(graph.node)]
    count += len(nodes) - len(casts) - len(graph.node)
    copies = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)
    return count + sum(_halve(body) for node in graph.node for body in bodies(node))


def _halved_constants(nodes: Iterable[NodeProto]) -> Iterator[NodeProto]:
    """The nodes, each large Constant in fp16 and a Cast behind it."""
    for node in nodes:
        value = attribute_of(node, "value", None) if node.op_type == "Constant" else None
        if isinstance(value, TensorProto) and _is_large(value):
            name = node.output[0]
            yield helper.make_node("Constant", [], [f"{name}/fp16"], value=_half(value, f"{name}/fp16"))
            yield _cast(name)
        else:
            yield node


def _is_large(tensor: TensorProto) -> bool:
    return tensor.data_type == TensorProto.FLOAT and int(np.prod(tensor.dims, dtype=np.int64)) >= FEWEST_WEIGHTS


def _half(tensor: TensorProto, name: str) -> TensorProto:
    value = numpy_helper.to_array(tensor)
    if float(np.abs(value).max()) > LARGEST:
        raise ExportRefused(
            f"the weight {tensor.name!r} reaches {np.abs(value).max():.3g}, fp16 ends at {LARGEST:.0f}; use int8 or fp32"
        )
    return numpy_helper.from_array(value.astype(np.float16), name)


def _cast(name: str) -> NodeProto:
    """Of a weight in fp16 to what it is under its own name."""
    return helper.make_node("Cast", [f"{name}/fp16"], [name], to=TensorProto.FLOAT)
