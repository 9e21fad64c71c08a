"""Sums, means and extremes: over features of a row, or over time, where a stream has what came so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor

from exporters.trace.nodes import Node
from exporters.trace.registry import Call, rule
from exporters.trace.rules.align import cast, counter, made, reshaped
from exporters.trace.rules.choose import _largest
from exporters.trace.rules.elementwise import Maker
from exporters.trace.rules.shape import value_of
from exporters.trace.tracer import Tracer
from exporters.trace.values import Axis, Value, dynamic, numpy_dtype, sizes_of

KINDS = {
    "sum": "ReduceSum",
    "mean": "ReduceMean",
    "amax": "ReduceMax",
    "amin": "ReduceMin",
    "prod": "ReduceProd",
    "logsumexp": "ReduceLogSumExp",
}
SO_FAR = {"sum": "sum", "mean": "mean", "amax": "largest", "amin": "smallest"}


@rule("sum", "mean", "amax", "amin", "prod", "logsumexp")
def reduction(tracer: Tracer, call: Call) -> Value:
    """One number of the entries of some axes."""
    dims = call.get("dim")
    rank = call["self"].dim()
    dims = [dims] if isinstance(dims, int) else list(dims or range(rank))
    value = value_of(tracer, call)
    dtype = numpy_dtype(call.result.dtype)
    value = replace(value, node=cast(tracer, value.node, dtype))
    return _reduced(tracer, value, [dim % rank for dim in dims], call.get("keepdim", False), call.name, call.result)


@rule("max", "min")
def extreme(tracer: Tracer, call: Call) -> Any:
    """The largest or smallest entry of an axis, and its number; or of two tensors."""
    if isinstance(call.result, Tensor):
        raise tracer.refuse(
            f"takes {call.name} over all streams and steps; take it over features, and decide by torch.where"
        )
    value = value_of(tracer, call)
    dim = call["dim"] % len(value.axes)
    name = "amax" if call.name == "max" else "amin"
    values, numbers = call.result
    found = _reduced(tracer, value, [dim], call["keepdim"], name, values)
    if "T" in value.axes[dim]:
        return found, None
    return found, _largest(tracer, value, dim, call["keepdim"], "arg" + call.name, numbers)


@rule("var", "std", "var_mean")
def variance(tracer: Tracer, call: Call) -> Any:
    """Spread over features."""
    value = value_of(tracer, call)
    rank = len(value.axes)
    dims = [dim % rank for dim in (call.get("dim") or range(rank))]
    if any(dynamic(value.axes[dim]) for dim in dims):
        raise tracer.refuse(
            "takes a variance over time or batch, which needs the whole sequence; take it over features"
        )
    correction = call.get("correction")
    correction = (1 if call.get("unbiased", True) else 0) if correction is None else correction
    maker = Maker(tracer, value.node.dtype)
    positions = [_position(value.axes, dim) for dim in dims]
    count = int(np.prod([value.node.shape[p] for p in positions]))
    mean = _over(tracer, value.node, positions, "mean")
    off = maker("Sub", value.node, mean)
    total = _over(tracer, maker("Mul", off, off), positions, "sum")
    node = maker("Div", total, float(count - correction))
    node = maker("Sqrt", node) if call.name == "std" else node
    axes = _without(value.axes, dims, call.get("keepdim", False))
    like = replace(value, axes=axes)
    if call.name != "var_mean":
        return made(tracer, like, reshaped(tracer, node, sizes_of(axes)), call.result)
    return [
        made(tracer, like, reshaped(tracer, n, sizes_of(axes)), r)
        for n, r in zip((node, mean), call.result, strict=True)
    ]


@rule("linalg_vector_norm", "norm")
def norm(tracer: Tracer, call: Call) -> Value:
    """Length over features."""
    value = value_of(tracer, call)
    order = call.get("ord", call.get("p", 2))
    rank = len(value.axes)
    dims = [dim % rank for dim in (call.get("dim") or range(rank))]
    if order not in (1, 2) or any(dynamic(value.axes[dim]) for dim in dims):
        raise tracer.refuse("takes a norm over time or batch, or of an order other than 1 and 2; take it over features")
    maker = Maker(tracer, value.node.dtype)
    positions = [_position(value.axes, dim) for dim in dims]
    inner = maker("Mul", value.node, value.node) if order == 2 else maker("Abs", value.node)
    node = _over(tracer, inner, positions, "sum")
    node = maker("Sqrt", node) if order == 2 else node
    axes = _without(value.axes, dims, call.get("keepdim", False))
    return made(tracer, replace(value, axes=axes), reshaped(tracer, node, sizes_of(axes)), call.result)


@rule("cumsum", "cummax", "cummin")
def cumulative(tracer: Tracer, call: Call) -> Any:
    """Sums or extremes of what came so far, along time or along features."""
    value = value_of(tracer, call)
    dim = call["dim"] % len(value.axes)
    result = call.result if isinstance(call.result, Tensor) else call.result[0]
    node = cast(tracer, value.node, numpy_dtype(result.dtype))
    if value.axes[dim] == ("T",):
        _check_start(tracer, value)
        kind = {"cumsum": "sum", "cummax": "amax", "cummin": "amin"}[call.name]
        node = _running(tracer, node, kind)
    elif call.name != "cumsum" or dynamic(value.axes[dim]):
        raise tracer.refuse(f"uses {call.name} over an axis that is neither time nor features; transpose first")
    else:
        axis = _position(value.axes, dim) - len(node.shape)
        node = tracer.table.make("CumSum", [node], shape=node.shape, dtype=node.dtype, axis=axis)
    found = made(tracer, value, node, result)
    return found if result is call.result else (found, None)


def _reduced(tracer: Tracer, value: Value, dims: Sequence[int], keep: bool, name: str, result: Tensor) -> Value:
    over = {item for dim in dims for item in dynamic(value.axes[dim])}
    if "B" in over:
        raise tracer.refuse(
            f"takes the {name} over the batch; every stream must be computed and decided by itself (torch.where)"
        )
    positions = [_position(value.axes, dim) for dim in dims if not dynamic(value.axes[dim])]
    node = _over(tracer, value.node, positions, name) if positions else value.node
    axes = _without(value.axes, dims, keep)
    if "T" not in over:
        return made(tracer, replace(value, axes=axes), reshaped(tracer, node, sizes_of(axes)), result)
    if name not in SO_FAR or any(dynamic(value.axes[dim]) not in ((), ("T",)) for dim in dims):
        raise tracer.refuse(
            f"takes the {name} over time, which needs the whole sequence; a stream can have the mean, sum, largest or"
            " smallest so far"
        )
    _check_start(tracer, value)
    node = _running(tracer, node, "sum" if name == "mean" else name)
    if name == "mean":
        count = tracer.table.make(
            "Add", [counter(tracer), tracer.table.const(np.asarray(1, np.int64))], shape=(), dtype="int64"
        )
        node = Maker(tracer, node.dtype)(
            "Div", node, reshaped(tracer, cast(tracer, count, node.dtype), [1] * len(node.shape))
        )
    node = tracer.table.at(node, tracer.steps - 1)
    tracer.remarks[node] = SO_FAR[name]
    found = replace(value, axes=axes, first=0, steps=0)
    return made(tracer, found, reshaped(tracer, node, sizes_of(axes)), result)


def _running(tracer: Tracer, node: Node, kind: str) -> Node:
    return tracer.table.make("Running", [node], shape=node.shape, dtype=node.dtype, of=kind)


def _check_start(tracer: Tracer, value: Value) -> None:
    if value.first != 0 or value.steps != tracer.steps:
        raise tracer.refuse(
            "reduces over time together with padding, or without some steps; reduce the sequence as it came"
        )


def _over(tracer: Tracer, node: Node, positions: Sequence[int], name: str) -> Node:
    """A reduction over axes of the row, which stay with size 1."""
    shape = [1 if i in positions else size for i, size in enumerate(node.shape)]
    axes = tuple(position - len(shape) for position in positions)
    return tracer.table.make(KINDS[name], [node], shape=shape, dtype=node.dtype, axes=axes)


def _without(axes: Sequence[Axis], dims: Sequence[int], keep: bool) -> tuple[Axis, ...]:
    return tuple((1,) if i in dims else axis for i, axis in enumerate(axes) if keep or i not in dims)


def _position(axes: Sequence[Axis], dim: int) -> int:
    return sum(isinstance(item, int) for axis in axes[:dim] for item in axis)
