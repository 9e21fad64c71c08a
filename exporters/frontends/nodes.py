"""A front end as ONNX nodes before the input of a graph that takes what is heard."""

from __future__ import annotations

import math

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edge_rnn.contract.errors import UsageError
from edge_rnn.contract.front_end import FrontEnd

SAMPLES = "samples"


def with_front_end(proto: onnx.ModelProto, front: FrontEnd, taken: frozenset[str] = frozenset()) -> onnx.ModelProto:
    """A copy whose input ``samples: float32[..., window]`` takes the place of the one of ``front.width`` features.

    ``taken``: inputs that are something else (states, constants). Preconditions: opset 13 or later, one float32 input
    whose last axis is of the front end's width or of any size. The graph's own nodes stay as they are: what is heard
    has the old input's name. Raises `UsageError`.
    """
    found = onnx.ModelProto()
    found.CopyFrom(proto)
    graph = found.graph
    at, value = _input_of(graph, front, taken)
    names = {name for node in graph.node for name in (*node.input, *node.output)} | {v.name for v in graph.input}
    samples = SAMPLES if SAMPLES not in names else f"edge_rnn.{SAMPLES}"
    dims = [d.dim_value if d.HasField("dim_value") else d.dim_param or None for d in value.type.tensor_type.shape.dim]
    graph.input.remove(value)
    graph.input.insert(at, helper.make_tensor_value_info(samples, onnx.TensorProto.FLOAT, [*dims[:-1], front.window]))
    nodes = _Nodes(graph)
    nodes.build(front, samples, value.name)
    kept = list(graph.node)
    del graph.node[:]
    graph.node.extend([*nodes.made, *kept])
    return found


def _input_of(graph: onnx.GraphProto, front: FrontEnd, taken: frozenset[str]) -> tuple[int, onnx.ValueInfoProto]:
    """The input that takes what is heard, and its place."""
    weights = {tensor.name for tensor in graph.initializer}
    found, seen = [], []
    for at, value in enumerate(graph.input):
        tensor = value.type.tensor_type
        if value.name in weights | taken or tensor.elem_type != onnx.TensorProto.FLOAT or not tensor.shape.dim:
            continue
        last = tensor.shape.dim[-1]
        seen.append(f"{value.name} of {last.dim_value or 'any'}")
        if len(tensor.shape.dim) > 1 and last.dim_value in (0, front.width):
            found.append((at, value))
    sure = [(at, value) for at, value in found if value.type.tensor_type.shape.dim[-1].dim_value] or found
    if len(sure) != 1:
        raise UsageError(
            f"--front-end {front.kind} gives {front.width} numbers, and {len(sure)} of the graph's inputs"
            f" ({', '.join(seen) or 'none'}) take so many on their last axis; expected one; change its settings, or name"
            " states and constants by --state and --constant"
        )
    return sure[0]


class _Nodes:
    """Nodes and weights in the making."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.made: list[onnx.NodeProto] = []
        self._graph = graph

    def build(self, front: FrontEnd, samples: str, heard: str) -> None:
        """From ``samples`` to the tensor ``heard``."""
        steps: list[tuple[str, np.ndarray | None]] = [("MatMul", front.spectrum())]
        if front.kind != "stft":
            steps += [("Mul", None), ("MatMul", front.energies())]
        if front.kind in ("log-mel", "mfcc"):
            floor = np.asarray(front.floor)
            if front.log == "ln":
                steps += [("Add", floor), ("Log", None)]
            else:
                steps += [("Max", floor), ("Log", None), ("Mul", np.asarray(10 / math.log(10)))]
        if front.kind == "mfcc":
            steps.append(("MatMul", front.cosines()))
        name = samples
        for number, (op, value) in enumerate(steps):
            output = heard if number == len(steps) - 1 else f"edge_rnn.front_end.{number}"
            if value is not None:
                other = [self._weight(f"edge_rnn.front_end.{number}.weight", value)]
            else:
                other = [name] if op == "Mul" else []
            self.made.append(helper.make_node(op, [name, *other], [output], name=f"edge_rnn.front_end.{number}"))
            name = output

    def _weight(self, name: str, value: np.ndarray) -> str:
        self._graph.initializer.append(numpy_helper.from_array(value.astype(np.float32), name))
        return name
