"""Softmax and normalisation over features, with the statistics of the row or of training."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from exporters.trace.nodes import Node
from exporters.trace.registry import Call, rule
from exporters.trace.rules.align import made, reshaped
from exporters.trace.rules.elementwise import Maker
from exporters.trace.rules.shape import value_of
from exporters.trace.rules.stretch import check_whole
from exporters.trace.tracer import Tracer
from exporters.trace.values import Value, numpy_dtype


@rule("_softmax", "_log_softmax", "_safe_softmax")
def softmax(tracer: Tracer, call: Call) -> Value:
    """Shares of the entries of a row."""
    value = value_of(tracer, call)
    dim = call["dim"] % len(value.axes)
    if "T" in value.axes[dim]:
        raise tracer.refuse(
            "takes softmax over time: attention over the whole past needs every step; take it over features, or use a"
            " recurrent layer"
        )
    check_whole(tracer, value.axes[dim])
    kind = "LogSoftmax" if call.name == "_log_softmax" else "Softmax"
    axis = _position(value, dim) - len(value.node.shape)
    node = tracer.table.make(kind, [value.node], shape=value.node.shape, dtype=value.node.dtype, axis=axis)
    return made(tracer, value, node, call.result)


@rule("native_layer_norm")
def layer_norm(tracer: Tracer, call: Call) -> Any:
    """Normalisation over the last axes (Ba et al., 2016)."""
    value = tracer.value(call["input"])
    shape = tuple(call["normalized_shape"])
    assert value is not None
    for axis in value.axes[len(value.axes) - len(shape) :]:
        if "T" in axis:
            raise tracer.refuse("normalises over time, which needs the whole sequence; normalise over features only")
        check_whole(tracer, axis)
    args = [value.node]
    for name, default in (("weight", torch.ones(shape)), ("bias", torch.zeros(shape))):
        given = call[name]
        if tracer.known(given) is not None:
            raise tracer.refuse("normalises with a weight that depends on the input; multiply afterwards")
        args.append(tracer.table.const((default if given is None else given).detach().numpy()))
    node = tracer.table.make(
        "LayerNormalization",
        args,
        shape=value.node.shape,
        dtype=value.node.dtype,
        axis=-len(shape),
        epsilon=float(call["eps"]),
    )
    return made(tracer, value, node, call.result[0]), None, None


@rule("native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training", "cudnn_batch_norm")
def batch_norm(tracer: Tracer, call: Call) -> Any:
    """The statistics of training: a factor and an offset a channel."""
    value = tracer.value(call["input"])
    mean, variance = call.get("running_mean"), call.get("running_var")
    if value is None or call.get("training", False) or mean is None or variance is None:
        raise tracer.refuse(
            "normalises with the statistics of the batch and the sequence at hand; a stream has neither: train with"
            " track_running_stats=True and export in eval mode"
        )
    scale = 1 / torch.sqrt(variance.double() + float(call["eps"]))
    weight, bias = call.get("weight"), call.get("bias")
    scale = scale if weight is None else scale * weight.double()
    offset = -mean.double() * scale if bias is None else bias.double() - mean.double() * scale
    channels = _position(value, 1)
    if value.axes[1] != (value.tensor.shape[1],):
        raise tracer.refuse("normalises an axis that is not the features; give it [batch, features, time]")
    maker = Maker(tracer, value.node.dtype)
    factors = [_along(tracer, array, channels, value.node, value.node.dtype) for array in (scale, offset)]
    node = maker("Add", maker("Mul", value.node, factors[0]), factors[1])
    return made(tracer, value, node, call.result[0]), None, None


@rule("native_group_norm")
def group_norm(tracer: Tracer, call: Call) -> Any:
    """Normalisation over groups of channels, where no time is among them."""
    value = tracer.value(call["input"])
    assert value is not None
    if any("T" in axis for axis in value.axes[1:]):
        raise tracer.refuse(
            "normalises over time together with the channels, which needs the whole sequence; use LayerNorm over the"
            " features of each step"
        )
    maker, groups = Maker(tracer, value.node.dtype), int(call["group"])
    shape = value.node.shape
    total = int(np.prod(shape))
    split = reshaped(tracer, value.node, (groups, total // groups))
    args = [split, *(tracer.table.const(np.full(total // groups, n, split.dtype)) for n in (1, 0))]
    node = tracer.table.make(
        "LayerNormalization", args, shape=split.shape, dtype=split.dtype, axis=-1, epsilon=float(call["eps"])
    )
    node = reshaped(tracer, node, shape)
    if call["weight"] is not None:
        node = maker("Mul", node, _along(tracer, call["weight"], 0, node, node.dtype))
    if call["bias"] is not None:
        node = maker("Add", node, _along(tracer, call["bias"], 0, node, node.dtype))
    return made(tracer, value, node, call.result[0]), None, None


@rule("glu")
def glu(tracer: Tracer, call: Call) -> Value:
    """One half of an axis times the logistic function of the other (Dauphin et al., 2017)."""
    value = value_of(tracer, call)
    dim = call["dim"] % len(value.axes)
    check_whole(tracer, value.axes[dim])
    position = _position(value, dim)
    shape = list(value.node.shape)
    size = shape[position] = shape[position] // 2
    halves = [
        tracer.table.make(
            "Slice",
            [value.node],
            shape=shape,
            dtype=value.node.dtype,
            axis=position - len(shape),
            start=start,
            end=start + size,
            step=1,
        )
        for start in (0, size)
    ]
    maker = Maker(tracer, numpy_dtype(call.result.dtype))
    axes = (*value.axes[:dim], (size,), *value.axes[dim + 1 :])
    return made(tracer, replace(value, axes=axes), maker("Mul", halves[0], maker("Sigmoid", halves[1])), call.result)


def _position(value: Value, dim: int) -> int:
    """Where an axis of the value lies in its rows."""
    return sum(isinstance(item, int) for axis in value.axes[:dim] for item in axis)


def _along(tracer: Tracer, array: Tensor, position: int, node: Node, dtype: str) -> Node:
    shape = [1] * len(node.shape)
    shape[position] = node.shape[position]
    return tracer.table.const(array.detach().numpy().astype(dtype).reshape(shape))
