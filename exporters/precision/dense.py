"""MatMul and Gemm with constant weights, taken apart into integer products."""

from __future__ import annotations

import numpy as np
from onnx import NodeProto, helper

from exporters.foreign.flow import attribute_of
from exporters.precision.quantise import Additions, Quantised, integer_product, quantised_rows

FEWEST_WEIGHTS = 16384
"""Smaller products stay in fp32: they are neither large nor slow."""


def is_dense(node: NodeProto, kept: dict[str, np.ndarray]) -> bool:
    """Whether a node is a product with constant weights that are worth it."""
    if node.op_type not in ("MatMul", "Gemm") or node.input[1] not in kept:
        return False
    weight = kept[node.input[1]]
    if weight.ndim != 2 or weight.size < FEWEST_WEIGHTS or weight.dtype != np.float32:
        return False
    if node.op_type == "MatMul":
        return True
    plain = (
        not attribute_of(node, "transA", 0)
        and attribute_of(node, "alpha", 1.0) == attribute_of(node, "beta", 1.0) == 1.0
    )
    bias = node.input[2] if len(node.input) > 2 else ""
    return plain and (not bias or (bias in kept and kept[bias].ndim == 1))


def take_apart_dense(node: NodeProto, kept: dict[str, np.ndarray], largest: float, bits: int) -> Additions:
    """The nodes that take a product's place. ``largest``: the largest absolute input."""
    to = Additions(f"{node.output[0]}/int8")
    weight = kept[node.input[1]]
    bias = None
    if node.op_type == "Gemm":
        weight = weight.T if attribute_of(node, "transB", 0) else weight
        bias = kept[node.input[2]] if len(node.input) > 2 and node.input[2] else None
    rows = quantised_rows(to, node.input[0], largest, "x")
    product = integer_product(to, rows, Quantised.of(weight, bits), largest, "x", bias)
    to.nodes.append(helper.make_node("Identity", [product], [node.output[0]]))
    return to
