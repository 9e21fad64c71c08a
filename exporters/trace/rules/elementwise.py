"""Operations on each number by itself: arithmetic, comparisons, activations."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from exporters.trace.nodes import Node
from exporters.trace.registry import RULES, Call
from exporters.trace.rules.align import aligned, cast, made, operand
from exporters.trace.tracer import Tracer
from exporters.trace.values import Value, numpy_dtype

Build = Callable[["Maker", Node, Call], Node]


class Maker:
    """Builds expressions on rows of one type."""

    def __init__(self, tracer: Tracer, dtype: str) -> None:
        self._table, self.dtype, self._tracer = tracer.table, dtype, tracer

    def number(self, value: float) -> Node:
        """A constant."""
        return self._table.const(np.asarray(value, self.dtype))

    def __call__(self, kind: str, *given: Node | float, **attrs: Any) -> Node:
        """An operator on nodes and numbers."""
        args = [item if isinstance(item, Node) else self.number(item) for item in given]
        shape = np.broadcast_shapes(*(arg.shape for arg in args))
        return self._table.make(kind, args, shape=shape, dtype=self.dtype, **attrs)

    def compare(self, kind: str, x: Node, limit: float) -> Node:
        """A comparison with a number."""
        return self._table.make(kind, [x, self.number(limit)], shape=x.shape, dtype="bool")


DIRECT = {
    "relu": "Relu",
    "tanh": "Tanh",
    "sigmoid": "Sigmoid",
    "exp": "Exp",
    "log": "Log",
    "sqrt": "Sqrt",
    "abs": "Abs",
    "neg": "Neg",
    "erf": "Erf",
    "sin": "Sin",
    "cos": "Cos",
    "tan": "Tan",
    "floor": "Floor",
    "ceil": "Ceil",
    "round": "Round",
    "sign": "Sign",
    "reciprocal": "Reciprocal",
    "selu": "Selu",
    "logical_not": "Not",
    "bitwise_not": "Not",
    "isnan": "IsNaN",
    "atan": "Atan",
}


def _softplus(m: Maker, x: Node, beta: float = 1.0, threshold: float = 20.0) -> Node:
    scaled = m("Mul", x, beta) if beta != 1 else x
    soft = m("Add", m("Relu", scaled), m("Log", m("Add", m("Exp", m("Neg", m("Abs", scaled))), 1.0)))
    soft = m("Div", soft, beta) if beta != 1 else soft
    if threshold >= 20:  # beyond it both forms are equal in fp32
        return soft
    return m("Where", m.compare("Greater", scaled, threshold), x, soft)


def _gelu(m: Maker, x: Node, call: Call) -> Node:
    if call.get("approximate", "none") == "tanh":
        cube = m("Mul", m("Mul", x, x), x)
        inner = m("Mul", m("Add", x, m("Mul", cube, 0.044715)), math.sqrt(2 / math.pi))
        return m("Mul", m("Mul", x, 0.5), m("Add", m("Tanh", inner), 1.0))
    return m("Mul", m("Mul", x, 0.5), m("Add", m("Erf", m("Mul", x, math.sqrt(0.5))), 1.0))


def _elu(m: Maker, x: Node, call: Call) -> Node:
    alpha, scale, inner = (float(call.get(name, 1)) for name in ("alpha", "scale", "input_scale"))
    negative = m("Min", x, 0.0)
    low = m("Mul", m("Sub", m("Exp", m("Mul", negative, inner)), 1.0), alpha)
    return m("Mul", m("Add", m("Relu", x), low), scale) if scale != 1 else m("Add", m("Relu", x), low)


def _clip(m: Maker, x: Node, low: Any, high: Any) -> Node:
    x = m("Max", x, low) if low is not None else x
    return m("Min", x, high) if high is not None else x


def _power(m: Maker, x: Node, call: Call) -> Node:
    exponent = call["exponent"]
    if exponent == 2:
        return m("Mul", x, x)
    return m("Sqrt", x) if exponent == 0.5 else m("Pow", x, float(exponent))


COMPOSED: dict[str, Build] = {
    "gelu": _gelu,
    "silu": lambda m, x, _: m("Mul", x, m("Sigmoid", x)),
    "mish": lambda m, x, _: m("Mul", x, m("Tanh", _softplus(m, x))),
    "softplus": lambda m, x, c: _softplus(m, x, float(c["beta"]), float(c["threshold"])),
    "log_sigmoid_forward": lambda m, x, _: m("Neg", _softplus(m, m("Neg", x))),
    "elu": _elu,
    "celu": lambda m, x, c: m(
        "Add",
        m("Relu", x),
        m("Mul", m("Sub", m("Exp", m("Div", m("Min", x, 0.0), float(c["alpha"]))), 1.0), float(c["alpha"])),
    ),
    "leaky_relu": lambda m, x, c: m("Add", m("Relu", x), m("Mul", m("Min", x, 0.0), float(c["negative_slope"]))),
    "rrelu_with_noise": lambda m, x, c: m(
        "Add", m("Relu", x), m("Mul", m("Min", x, 0.0), (float(c["lower"]) + float(c["upper"])) / 2)
    ),
    "hardtanh": lambda m, x, c: _clip(m, x, float(c["min_val"]), float(c["max_val"])),
    "relu6": lambda m, x, _: _clip(m, x, 0.0, 6.0),
    "hardsigmoid": lambda m, x, _: m("Div", _clip(m, m("Add", x, 3.0), 0.0, 6.0), 6.0),
    "hardswish": lambda m, x, _: m("Mul", x, m("Div", _clip(m, m("Add", x, 3.0), 0.0, 6.0), 6.0)),
    "clamp": lambda m, x, c: _clip(m, x, c.get("min"), c.get("max")),
    "clamp_min": lambda m, x, c: _clip(m, x, c["min"], None),
    "clamp_max": lambda m, x, c: _clip(m, x, None, c["max"]),
    "softshrink": lambda m, x, c: m("Sub", x, _clip(m, x, -float(c["lambd"]), float(c["lambd"]))),
    "rsqrt": lambda m, x, _: m("Reciprocal", m("Sqrt", x)),
    "square": lambda m, x, _: m("Mul", x, x),
    "pow": _power,
    "log1p": lambda m, x, _: m("Log", m("Add", x, 1.0)),
    "expm1": lambda m, x, _: m("Sub", m("Exp", x), 1.0),
    "log2": lambda m, x, _: m("Div", m("Log", x), math.log(2)),
    "log10": lambda m, x, _: m("Div", m("Log", x), math.log(10)),
    "trunc": lambda m, x, _: m("Mul", m("Sign", x), m("Floor", m("Abs", x))),
    "frac": lambda m, x, _: m("Sub", x, m("Mul", m("Sign", x), m("Floor", m("Abs", x)))),
}

ARITHMETIC = {
    "add": "Add",
    "sub": "Sub",
    "mul": "Mul",
    "div": "Div",
    "maximum": "Max",
    "minimum": "Min",
    "bitwise_and": "And",
    "bitwise_or": "Or",
    "bitwise_xor": "Xor",
    "logical_and": "And",
    "logical_or": "Or",
    "logical_xor": "Xor",
}
COMPARISONS = {"gt": "Greater", "lt": "Less", "ge": "GreaterOrEqual", "le": "LessOrEqual", "eq": "Equal", "ne": "Equal"}


def _unary(tracer: Tracer, call: Call) -> Any:
    value = tracer.value(call["self"])
    result = call.result[0] if isinstance(call.result, tuple) else call.result
    if value is None:
        raise tracer.refuse(f"gives {call.name!r} a parameter that depends on the input; make it a constant")
    others = [argument for name, argument in call.arguments.items() if name not in ("self", "noise", "buffer")]
    if any(isinstance(argument, torch.Tensor) for argument in others):
        return _binary_power(tracer, call)
    dtype = numpy_dtype(result.dtype)
    node = cast(tracer, value.node, dtype)
    maker = Maker(tracer, dtype)
    name = call.name
    node = (
        tracer.table.make(DIRECT[name], [value.node if dtype == "bool" else node], shape=node.shape, dtype=dtype)
        if name in DIRECT
        else COMPOSED[name](maker, node, call)
    )
    found = made(tracer, value, node, result)
    return (found, None) if isinstance(call.result, tuple) else found


def _binary_power(tracer: Tracer, call: Call) -> Value:
    """Power and clamp whose other operands are tensors."""
    names = [name for name in ("self", "exponent", "min", "max") if call.get(name) is not None]
    dtype = numpy_dtype(call.result.dtype)
    nodes, like = aligned(tracer, [operand(tracer, call[name]) for name in names], call.result.dim())
    nodes = [cast(tracer, node, dtype) for node in nodes]
    maker, found = Maker(tracer, dtype), nodes[0]
    for name, node in zip(names[1:], nodes[1:], strict=True):
        found = maker({"exponent": "Pow", "min": "Max", "max": "Min"}[name], found, node)
    return made(tracer, like, found, call.result)


def _binary(tracer: Tracer, call: Call) -> Value:
    given = [operand(tracer, call["self"]), operand(tracer, call["other"])]
    nodes, like = aligned(tracer, given, call.result.dim())
    dtype = numpy_dtype(call.result.dtype)
    maker = Maker(tracer, dtype)
    if call.name in COMPARISONS:
        common = numpy_dtype(torch.result_type(call["self"], call["other"]))
        nodes = [cast(tracer, node, common) for node in nodes]
        node = maker(COMPARISONS[call.name], *nodes)
        return made(tracer, like, maker("Not", node) if call.name == "ne" else node, call.result)
    nodes = [cast(tracer, node, dtype) for node in nodes]
    if call.get("alpha", 1) != 1:
        nodes[1] = maker("Mul", nodes[1], call["alpha"])
    node = maker(ARITHMETIC[call.name], *nodes)
    mode = call.get("rounding_mode")
    if mode is not None:
        if mode != "floor" or not np.issubdtype(np.dtype(dtype), np.floating):
            raise tracer.refuse("divides whole numbers; divide as floats and round")
        node = maker("Floor", node)
    return made(tracer, like, node, call.result)


def _expression(
    names: Sequence[str], build: Callable[[Maker, list[Node], Call], Node]
) -> Callable[[Tracer, Call], Value]:
    """A rule for several tensors by their names in the schema."""

    def apply(tracer: Tracer, call: Call) -> Value:
        nodes, like = aligned(tracer, [operand(tracer, call[name]) for name in names], call.result.dim())
        dtype = numpy_dtype(call.result.dtype)
        nodes = [node if node.dtype == "bool" else cast(tracer, node, dtype) for node in nodes]
        return made(tracer, like, build(Maker(tracer, dtype), nodes, call), call.result)

    return apply


def _threshold(m: Maker, nodes: list[Node], call: Call) -> Node:
    return m("Where", m.compare("Greater", nodes[0], float(call["threshold"])), nodes[0], float(call["value"]))


def _hardshrink(m: Maker, nodes: list[Node], call: Call) -> Node:
    large = m.compare("Greater", m("Abs", nodes[0]), float(call["lambd"]))
    return m("Where", large, nodes[0], 0.0)


RULES.update(dict.fromkeys([*DIRECT, *COMPOSED], _unary))
RULES.update(dict.fromkeys([*ARITHMETIC, *COMPARISONS], _binary))
RULES["rsub"] = _expression(("self", "other"), lambda m, n, _: m("Sub", n[1], n[0]))
RULES["where"] = _expression(("condition", "self", "other"), lambda m, n, _: m("Where", *n))
RULES["masked_fill"] = _expression(("self", "mask", "value"), lambda m, n, _: m("Where", n[1], n[2], n[0]))
RULES["lerp"] = _expression(
    ("self", "end", "weight"), lambda m, n, _: m("Add", n[0], m("Mul", n[2], m("Sub", n[1], n[0])))
)
RULES["addcmul"] = _expression(
    ("self", "tensor1", "tensor2"),
    lambda m, n, c: m("Add", n[0], m("Mul", m("Mul", n[1], n[2]), float(c["value"]))),
)
RULES["addcdiv"] = _expression(
    ("self", "tensor1", "tensor2"),
    lambda m, n, c: m("Add", n[0], m("Mul", m("Div", n[1], n[2]), float(c["value"]))),
)
RULES["_prelu_kernel"] = _expression(
    ("self", "weight"), lambda m, n, _: m("Add", m("Relu", n[0]), m("Mul", n[1], m("Min", n[0], 0.0)))
)
RULES["threshold"] = _expression(("self",), _threshold)
RULES["hardshrink"] = _expression(("self",), _hardshrink)
