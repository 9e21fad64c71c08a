"""Integer products: activations u8 with a fixed scale and zero point 128, weights s8 with a scale per output.

The scale of an activation is fixed at export, so a stream's result depends on its own values only; a
scale found anew in each call (dynamic quantisation) would be that of the loudest stream in the batch.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

ZERO_POINT = 128
CONTRIB = "com.microsoft"
"""Domain of ONNX Runtime's own operators."""

POSITIVE = 127
"""Steps of an activation on each side of zero."""


SMALLEST = 1e-20
"""Weights of an output that are all below it are zeros."""


@dataclass
class Additions:
    """Nodes and weights that take another node's place. ``prefix`` makes their names unlike all others;
    steps that share ``weights`` share their ``weights_prefix``."""

    prefix: str
    nodes: list[NodeProto] = field(default_factory=list)
    weights: list[TensorProto] = field(default_factory=list)
    weights_prefix: str = ""

    def op(self, kind: str, inputs: Iterable[str], outputs: Iterable[str] | str, **attributes: Any) -> str:
        """Add a node; ``outputs`` are the ends of its outputs' names. Returns the first one's name."""
        ends = [outputs] if isinstance(outputs, str) else list(outputs)
        names = [f"{self.prefix}/{end}" for end in ends]
        self.nodes.append(helper.make_node(kind, list(inputs), names, name=f"{names[0]}/{kind}", **attributes))
        return names[0]

    def weight(self, value: np.ndarray, name: str) -> str:
        """Keep an array; a name asked for twice is the same array."""
        full = f"{self.weights_prefix or self.prefix}/{name}"
        if all(tensor.name != full for tensor in self.weights):
            self.weights.append(numpy_helper.from_array(np.ascontiguousarray(value), full))
        return full


@dataclass(frozen=True)
class Quantised:
    """A weight ``[in, out]`` as s8 with a scale per output: ``values * scales`` is near the weight."""

    values: np.ndarray
    scales: np.ndarray

    @classmethod
    def of(cls, weight: np.ndarray, bits: int, scales: np.ndarray | None = None) -> Quantised:
        """Round to the nearest of ``2 ** bits - 1`` steps; 7 bits keep sums of two products within 16.

        ``scales``: sizes of a step, none smaller than `needed_scales`, which are the default.
        """
        most = 2 ** (bits - 1) - 1
        if scales is None:
            needed = needed_scales(weight, bits)
            scales = np.where(needed > 0, needed, 1.0).astype(np.float32)
        return cls(np.clip(np.rint(weight / scales), -most, most).astype(np.int8), scales)


def needed_scales(weight: np.ndarray, bits: int) -> np.ndarray:
    """The least size of a step for each output of a weight ``[in, out]``, 0 where its weights are zeros: float32[out]."""
    largest = np.abs(weight).max(axis=0)
    return np.where(largest > SMALLEST, largest / (2 ** (bits - 1) - 1), 0.0).astype(np.float32)


def activation_scale(largest: float) -> np.float32:
    """The size of one step of an activation whose largest absolute value is ``largest``."""
    return np.float32(max(largest, 1e-6) / POSITIVE)


def quantised_rows(to: Additions, value: str, largest: float, name: str) -> str:
    """``value`` as u8; what is larger than ``largest`` is cut off there."""
    scale = to.weight(np.asarray(activation_scale(largest)), f"{name}.scale")
    return to.op("QuantizeLinear", [value, scale, _zero_point(to)], f"{name}.u8")


def integer_product(
    to: Additions, rows: str, weight: Quantised, largest: float, name: str, bias: np.ndarray | None = None
) -> str:
    """``value @ weight + bias`` of rows in u8, as float32, for many rows: ONNX Runtime's one operator for it.

    It makes one pass where MatMulInteger, Cast, Mul and Add make four.
    """
    kept = to.weight(weight.values, f"{name}.s8")
    scale = to.weight(np.asarray(activation_scale(largest)), f"{name}.scale")
    scales = to.weight(weight.scales, f"{name}.scales")
    given = [rows, kept, scale, scales, _zero_point(to), ""]
    if bias is not None:
        given.append(to.weight(bias.astype(np.float32), f"{name}.bias"))
    return to.op("MatMulIntegerToFloat", given, f"{name}.product", domain=CONTRIB)


def integer_sums(to: Additions, rows: str, values: np.ndarray, name: str, bias: np.ndarray | None = None) -> str:
    """The sums of ``rows @ values + bias`` as float32, not scaled yet: ``values`` s8 ``[in, out]``, ``bias`` in their steps.

    For a lone row, scales per output would cost as much as a third of the product; one Mul may also serve several sums.
    """
    one = to.weight(np.asarray(1, np.float32), "one")
    given = [rows, to.weight(values, f"{name}.s8"), one, one, _zero_point(to), ""]
    if bias is not None:
        given.append(to.weight(bias.astype(np.float32), f"{name}.bias"))
    return to.op("MatMulIntegerToFloat", given, f"{name}.sums", domain=CONTRIB)


def _zero_point(to: Additions) -> str:
    return to.weight(np.asarray(ZERO_POINT, np.uint8), "zero")
