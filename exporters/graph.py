"""A step graph in the making: nodes with unique names, initializers, declared inputs, outputs and state pairs.

The builder writes plain ONNX and knows nothing of modules; the emitters know nothing of ONNX's
containers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edge_rnn.contract.errors import ExportRefused

OPSET = 17
IR_VERSION = 8
"""The lowest that opset 17 stands in, so that the oldest runtimes read it."""

LEAST_ONNXRUNTIME = "1.12"
"""The first onnxruntime that implements opset 17 and IR version 8."""

Dim = int | str
Attribute = int | float | str | Sequence[int] | Sequence[str] | onnx.GraphProto


@dataclass
class GraphBuilder:
    """Collects a graph. Tensors are named by strings; a name asked for twice gets a number."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    inputs: list[onnx.ValueInfoProto] = field(default_factory=list)
    outputs: list[onnx.ValueInfoProto] = field(default_factory=list)
    initializers: list[onnx.TensorProto] = field(default_factory=list)
    _taken: set[str] = field(default_factory=set)

    def input(self, name: str, dtype: str, shape: Sequence[Dim]) -> str:
        """Declare a graph input of exactly this name."""
        self.inputs.append(helper.make_tensor_value_info(self._claim(name), _element_type(dtype), shape))
        return name

    def output(self, name: str, value: str, dtype: str, shape: Sequence[Dim]) -> None:
        """Give ``value`` out of the graph under exactly this name."""
        self.nodes.append(helper.make_node("Identity", [value], [self._claim(name)], name=f"{name}/Identity"))
        self.outputs.append(helper.make_tensor_value_info(name, _element_type(dtype), shape))

    def constant(self, value: np.ndarray, hint: str) -> str:
        """Keep an array in the graph and return its name."""
        name = self._fresh(hint)
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def op(self, kind: str, inputs: Sequence[str], *, hint: str, **attributes: Attribute) -> str:
        """Add a node with one output and return the output's name."""
        return self.ops(kind, inputs, outputs=("",), hint=hint, **attributes)[0]

    def ops(
        self, kind: str, inputs: Sequence[str], *, outputs: Sequence[str], hint: str, **attributes: Attribute
    ) -> list[str]:
        """Add a node with an output for each suffix in ``outputs`` and return their names."""
        name = self._fresh(f"{hint}/{kind}")
        names = [self._fresh(f"{name}{'.' if suffix else ''}{suffix}:out") for suffix in outputs]
        node = helper.make_node(kind, list(inputs), names, name=name)
        node.attribute.extend(helper.make_attribute(key, value) for key, value in sorted(attributes.items()))
        self.nodes.append(node)
        return names

    def body(self, name: str) -> onnx.GraphProto:
        """What was built, as the body of a Scan or as the main graph."""
        return helper.make_graph(self.nodes, name, self.inputs, self.outputs, self.initializers)

    def model(self, name: str) -> bytes:
        """The finished model, checked with shapes inferred. Raises `ExportRefused` when onnx finds it invalid."""
        model = helper.make_model(
            self.body(name), opset_imports=[helper.make_opsetid("", OPSET)], producer_name="edge-rnn"
        )
        model.ir_version = IR_VERSION
        try:
            onnx.checker.check_model(model, full_check=True)
        except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
            raise ExportRefused(
                f"the step graph of {name!r} is not valid ONNX: {str(error).strip().splitlines()[0]};"
                " report the module that it was made from"
            ) from error
        return bytes(model.SerializeToString(deterministic=True))

    def _claim(self, name: str) -> str:
        if name in self._taken:
            raise ExportRefused(f"the step graph has two tensors named {name!r}; rename the input or the submodule")
        self._taken.add(name)
        return name

    def _fresh(self, hint: str) -> str:
        name, number = hint, 1
        while name in self._taken:
            number += 1
            name = f"{hint}.{number}"
        self._taken.add(name)
        return name


def _element_type(dtype: str) -> int:
    return int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))
