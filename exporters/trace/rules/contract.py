"""Products summed over an axis: linear layers, matrix products, einsum (which torch makes of them)."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor

from exporters.trace.nodes import Node
from exporters.trace.registry import Call, rule
from exporters.trace.rules.align import (
    Operand,
    aligned,
    cast,
    const_rows,
    in_line,
    made,
    operand,
    reshaped,
)
from exporters.trace.tracer import Tracer
from exporters.trace.values import Axis, Value, dynamic, numpy_dtype, size_of, sizes_of

ATTENTION = (
    "sums over time with weights of its own for each pair of steps: attention over the whole past needs every past"
    " step; use a recurrent layer or a causal convolution, or attend to a fixed number of past steps"
)


@rule("mm", "bmm")
def matrix_product(tracer: Tracer, call: Call) -> Value:
    """``[..., rows, k] x [..., k, columns]``."""
    other = "mat2"
    return _product(tracer, operand(tracer, call["self"]), operand(tracer, call[other]), call.result)


@rule("mv", "dot")
def vector_product(tracer: Tracer, call: Call) -> Value:
    """A matrix and a vector."""
    a, b = call["self"], call.get("vec", call.get("tensor"))
    given: list[Operand] = []
    for tensor, at in ((a, 0 if a.dim() == 1 else None), (b, 1)):
        value = tracer.value(tensor)
        wide = tensor if at is None else tensor.unsqueeze(at)
        if value is None:
            given.append(wide)
        else:
            axes = value.axes if at is None else ((1,), *value.axes) if at == 0 else (*value.axes, (1,))
            given.append(replace(value, axes=axes, node=reshaped(tracer, value.node, sizes_of(axes)), tensor=wide))
    wide = call.result.reshape([1 if a.dim() == 1 else a.shape[0], 1])
    found = _product(tracer, given[0], given[1], wide)
    axes = found.axes[: call.result.dim()]
    return made(tracer, replace(found, axes=axes), reshaped(tracer, found.node, sizes_of(axes)), call.result)


@rule("addmm", "baddbmm", "addbmm", "addmv")
def product_and_sum(tracer: Tracer, call: Call) -> Value:
    """A product and a bias."""
    beta, alpha = call.get("beta", 1), call.get("alpha", 1)
    if call.name not in ("addmm", "baddbmm") or (beta, alpha) != (1, 1):
        raise tracer.refuse(f"uses {call.name!r} with factors; multiply and add in two operations")
    names = ("mat1", "mat2") if call.name == "addmm" else ("batch1", "batch2")
    a, b = (operand(tracer, call[name]) for name in names)
    dtype = numpy_dtype(call.result.dtype)
    bias = operand(tracer, call["self"])
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        product: Operand = a @ b
    else:
        product = _product(tracer, a, b, call[names[0]] @ call[names[1]])
    nodes, like = aligned(tracer, [product, bias], call.result.dim())
    shape = np.broadcast_shapes(*(node.shape for node in nodes))
    node = tracer.table.make("Add", [cast(tracer, node, dtype) for node in nodes], shape=shape, dtype=dtype)
    return made(tracer, like, node, call.result)


def _product(tracer: Tracer, a: Operand, b: Operand, result: Tensor) -> Value:
    values = in_line(tracer, [value for value in (a, b) if isinstance(value, Value)])
    if isinstance(a, Value):
        a = values.pop(0)
    if isinstance(b, Value):
        b = values.pop(0)
    rank = result.dim()
    like = next(v for v in sorted((v for v in (a, b) if isinstance(v, Value)), key=lambda v: v.time_axis is None))
    axes_a = a.axes if isinstance(a, Value) else _const_axes(a, b, rank)
    axes_b = b.axes if isinstance(b, Value) else _const_axes(b, a, rank)
    if "T" in axes_a[-1] or "T" in axes_b[-2]:
        raise tracer.refuse(ATTENTION)
    if "B" in axes_a[-1] or "B" in axes_b[-2]:
        raise tracer.refuse("sums over the batch; every stream must be computed by itself")
    if dynamic(axes_a[-2]) and dynamic(axes_b[-1]):
        both = "T" in axes_a[-2] and "T" in axes_b[-1]
        raise tracer.refuse(ATTENTION if both else "multiplies every stream with every other; compute each by itself")
    outer = [_outer(tracer, x, y) for x, y in zip(axes_a[:-2], axes_b[:-2], strict=True)]
    moving = [set(dynamic(axis)) for axis in (*outer, axes_a[-2], axes_b[-1])]
    if sum(len(items) for items in moving) != len(set().union(*moving)):
        raise tracer.refuse("multiplies tensors whose time and batch lie on different axes; transpose one of them")
    axes = (*outer, axes_a[-2], axes_b[-1])
    first = like.steps if like.steps else tracer.steps
    dtype = numpy_dtype(result.dtype)
    width, rows, columns = size_of(axes_a[-1]), size_of(axes_a[-2]), size_of(axes_b[-1])
    outer_a, outer_b = ([size_of(axis) for axis in found[:-2]] for found in (axes_a, axes_b))
    left = cast(tracer, _matrix(tracer, a, axes_a, [*outer_a, rows, width], first), dtype)
    right = cast(tracer, _matrix(tracer, b, axes_b, [*outer_b, width, columns], first), dtype)
    if rows == 1 and math.prod(outer_b) == 1 and right.kind == "Const":  # a layer of weights: one product for all
        left, right = reshaped(tracer, left, [*outer_a, width]), reshaped(tracer, right, [width, columns])
        shape = [*outer_a, columns]
    else:
        shape = [*(max(x, y) for x, y in zip(outer_a, outer_b, strict=True)), rows, columns]
    node = tracer.table.make("MatMul", [left, right], shape=shape, dtype=dtype)
    return made(tracer, replace(like, axes=axes), reshaped(tracer, node, sizes_of(axes)), result)


def _const_axes(given: Any, other: Any, rank: int) -> tuple[Axis, ...]:
    """Axes of a constant matrix: time and batch lie on its outer axes only where the other has them there."""
    outer = [
        axis if dynamic(axis) and given.shape[i] != 1 else (given.shape[i],)
        for i, axis in enumerate(other.axes[: rank - 2])
    ]
    return (*outer, (given.shape[-2],), (given.shape[-1],))


def _matrix(tracer: Tracer, given: Operand, axes: tuple[Axis, ...], shape: list[int], steps: int) -> Node:
    node = given.node if isinstance(given, Value) else const_rows(tracer, given, axes, steps)
    return reshaped(tracer, node, shape)


def _outer(tracer: Tracer, a: Axis, b: Axis) -> Axis:
    if dynamic(a) and dynamic(b) and a != b:
        raise tracer.refuse("multiplies tensors whose time and batch lie on different axes; transpose one of them")
    return a if dynamic(a) or (size_of(a) >= size_of(b) and not dynamic(b)) else b


@rule("_scaled_dot_product_flash_attention_for_cpu", "_scaled_dot_product_attention_math", "_safe_softmax")
def attention(tracer: Tracer, _: Call) -> Any:
    """Attention, where time is among the keys."""
    raise tracer.refuse(ATTENTION)
