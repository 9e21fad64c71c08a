"""Padding, convolutions and windows: the steps before a window become state."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor

from exporters.trace.nodes import Node
from exporters.trace.registry import Call, rule
from exporters.trace.rules.align import filled, made, past_rows, tensor_of
from exporters.trace.rules.shape import value_of
from exporters.trace.rules.stretch import check_whole
from exporters.trace.tracer import Tracer
from exporters.trace.values import Axis, Value, dynamic, sizes_of


@rule("constant_pad_nd")
def pad(tracer: Tracer, call: Call) -> Value:
    """Constants around an axis; before the first step they are the past."""
    value, pads = value_of(tracer, call), list(call["pad"])
    rank = len(value.axes)
    node, axes = value.node, list(value.axes)
    first, steps = value.first, value.steps
    for number in range(len(pads) // 2):
        before, after = pads[2 * number : 2 * number + 2]
        dim = rank - 1 - number
        if (before, after) == (0, 0):
            continue
        if axes[dim] == ("T",):
            constant = np.asarray(call.get("value", 0) or 0)
            padded = filled(tracer, replace(value, node=node, first=first), before, constant)
            node, first, steps = padded.node, padded.first, steps + before + after
            continue
        check_whole(tracer, axes[dim])
        position = sum(isinstance(item, int) for axis in axes[:dim] for item in axis)
        shape = list(node.shape)
        shape[position] += before + after
        node = tracer.table.make(
            "Pad",
            [node],
            shape=shape,
            dtype=node.dtype,
            axis=position - len(shape),
            before=before,
            after=after,
            value=float(call.get("value", 0) or 0),
        )
        axes[dim] = (shape[position],)
    whose = tracer.where if first != value.first else value.whose
    return made(tracer, replace(value, axes=tuple(axes), first=first, steps=steps, whose=whose), node, call.result)


@rule("convolution", "mkldnn_convolution", "_convolution")
def convolution(tracer: Tracer, call: Call) -> Value:
    """A convolution over time, over features, or over both."""
    value = tracer.value(call["input"])
    if value is None or any(tracer.known(call[name]) is not None for name in ("weight", "bias")):
        raise tracer.refuse("convolves with weights that depend on the input; make them parameters")
    if call.get("transposed"):
        raise tracer.refuse("is a transposed convolution, which gives several steps for one; repeat features instead")
    if "T" in value.axes[1] or dynamic(value.axes[1]):
        raise tracer.refuse("convolves with time or batch among its channels; give it [batch, channels, time]")
    spatial = value.axes[2:]
    timed = next((i for i, axis in enumerate(spatial) if "T" in axis), None)
    weight = tensor_of(call["weight"])
    size, stride, dilation, padding = (
        list(weight.shape[2:]),
        *(_each(call[name], len(spatial)) for name in ("stride", "dilation", "padding")),
    )
    args = [value.node, tracer.table.const(weight.numpy())]
    bias = call.get("bias")
    if bias is not None:
        args.append(tracer.table.const(tensor_of(bias).numpy()))
    attrs: dict[str, Any] = {"group": int(call["groups"])}
    axes: tuple[Axis, ...] = (value.axes[0], (weight.shape[0],), *((n,) for n in call.result.shape[2:]))
    if timed is None:
        attrs |= {"strides": tuple(stride), "dilations": tuple(dilation), "pads": tuple(padding)}
        node = tracer.table.make("Conv", args, shape=sizes_of(axes), dtype=value.node.dtype, **attrs)
        return made(tracer, replace(value, axes=axes), node, call.result)
    if spatial[timed] != ("T",):
        raise tracer.refuse("convolves over time merged with another axis; keep time an axis of its own")
    if stride[timed] != 1:
        raise tracer.refuse(
            f"has stride {stride[timed]} over time: it would answer one step in {stride[timed]} only; use stride 1, or"
            " frames of that many steps as features of one step"
        )
    reach = (size[timed] - 1) * dilation[timed]
    if value.first > 0 and padding[timed]:
        padded = filled(tracer, value, padding[timed], np.zeros(()))
        args[0], first = padded.node, padded.first + reach
    else:
        first = value.first - padding[timed] + reach
    attrs |= {
        "reach": reach,
        "timed": timed,
        "strides": tuple(stride),
        "dilations": tuple(dilation),
        "pads": tuple(0 if i == timed else n for i, n in enumerate(padding)),
        "rank": len(spatial),
    }
    axes = (*axes[: 2 + timed], ("T",), *axes[3 + timed :])
    node = _windowed(tracer, value, args, reach, sizes_of(axes), attrs)
    steps = call.result.shape[2 + timed]
    found = replace(value, axes=axes, first=first, steps=steps, whose=tracer.where)
    return made(tracer, found, node, call.result)


def _windowed(
    tracer: Tracer, value: Value, args: list[Node], reach: int, shape: tuple[int, ...], attrs: dict[str, Any]
) -> Node:
    past = tracer.table.const(past_rows(tracer, value, reach))
    return tracer.table.make("Window", [*args, past], shape=shape, dtype=value.node.dtype, **attrs)


def _each(given: Any, count: int) -> list[int]:
    values = [int(n) for n in given]
    return values * count if len(values) == 1 else values


@rule("unfold")
def unfold(tracer: Tracer, call: Call) -> Value:
    """The last few steps as a new last axis."""
    value = value_of(tracer, call)
    dim, size, step = call["dimension"] % len(value.axes), call["size"], call["step"]
    if value.axes[dim] != ("T",) or step != 1:
        raise tracer.refuse(
            f"takes windows every {step} steps, or not over time; take a window at every step (step=1), over time"
        )
    history = _history(tracer, value, size)
    rank = len(history.shape)
    node = tracer.table.make(
        "Transpose",
        [history],
        shape=(*history.shape[1:], size),
        dtype=history.dtype,
        perm=(*range(1, rank), 0),
    )
    axes = (*value.axes, (size,))
    found = replace(value, axes=axes, first=value.first + size - 1, steps=call.result.shape[dim], whose=tracer.where)
    return made(tracer, found, node, call.result)


def _history(tracer: Tracer, value: Value, size: int) -> Node:
    """The last ``size`` rows of every step, oldest first."""
    past = tracer.table.const(past_rows(tracer, value, size - 1))
    return tracer.table.make(
        "History", [value.node, past], shape=(size, *value.node.shape), dtype=value.node.dtype, steps=size - 1
    )


@rule("max_pool2d_with_indices", "avg_pool2d", "max_pool1d", "avg_pool1d")
def pool(tracer: Tracer, call: Call) -> Any:
    """The largest, or the mean, of the last few steps."""
    value = value_of(tracer, call)
    result = call.result if isinstance(call.result, Tensor) else call.result[0]
    axis = value.time_axis
    sizes = _each(call["kernel_size"], 2)
    strides, padding = _each(call.get("stride") or sizes, 2), _each(call.get("padding", [0]), 2)
    sizes, strides, padding = ([1, 1, *given][-len(value.axes) :] for given in (sizes, strides, padding))
    sizes, strides, padding = ([1] * (len(value.axes) - len(g)) + g for g in (sizes, strides, padding))
    over_time_only = axis is not None and all(n == 1 for i, n in enumerate(sizes) if i != axis)
    if axis is None or not over_time_only or strides[axis] != 1 or value.axes[axis] != ("T",):
        raise tracer.refuse(
            "pools with a stride, or over features; a stream answers every step: pool over time with stride=1"
        )
    if padding[axis] not in (0, 1) and any(padding):
        raise tracer.refuse("pads both sides of its pool; pad on the left with F.pad and pool with padding=0")
    if sizes[axis] > 1 and any(padding[i] for i in range(len(padding)) if padding[i] != 1 or sizes[i] > 1):
        raise tracer.refuse("pads both sides of its pool; pad on the left with F.pad and pool with padding=0")
    history = _history(tracer, value, sizes[axis])
    kind = "ReduceMax" if "max" in call.name else "ReduceMean"
    shape = (1, *history.shape[1:])
    node = tracer.table.make(kind, [history], shape=shape, dtype=history.dtype, axes=(-len(shape),))
    node = tracer.table.make("Reshape", [node], shape=shape[1:], dtype=node.dtype)
    first = value.first + sizes[axis] - 1
    found = made(tracer, replace(value, first=first, steps=result.shape[axis], whose=tracer.where), node, result)
    return found if result is call.result else (found, None)


@rule("diff")
def difference(tracer: Tracer, call: Call) -> Any:
    """Not seen as such: torch makes slices of it."""
    raise tracer.refuse(f"uses {call.name}; subtract slices instead")
