"""Operands brought to one layout: their rows broadcast, their steps in line, constants cut to a row."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from exporters.trace.nodes import ALWAYS, SEQUENCE, Node
from exporters.trace.tracer import Tracer
from exporters.trace.values import Axis, Value, dynamic, numpy_dtype, size_of, sizes_of

Operand = Value | Tensor | float | int | bool


def operand(tracer: Tracer, argument: Any) -> Operand:
    """An argument: a value where its rows are followed, else itself."""
    value = tracer.value(argument)
    return argument if value is None else value


def aligned(
    tracer: Tracer, operands: Sequence[Operand], rank: int, *, apart: int | None = None
) -> tuple[list[Node], Value]:
    """The operands as rows that broadcast, and a value with the axes, the first step and the length of the result.

    ``rank`` is that of the result; along its axis ``apart`` sizes may differ. The value's node and
    tensor are those of one operand: replace them.
    """
    values = in_line(tracer, [value for value in operands if isinstance(value, Value)])
    timed = [value for value in operands if isinstance(value, Value) and value.time_axis is not None]
    latest = max(timed, key=lambda value: value.first, default=None)
    lead = next((value for value in values if value.time_axis is not None), values[0])
    lead = lead if latest is None else replace(lead, whose=latest.whose)
    constants = [given for given in operands if isinstance(given, Tensor)]
    axes = tuple(
        _joint_axis(tracer, values, constants, position - rank, apart is not None and position == apart)
        for position in range(rank)
    )
    if sum("T" in axis for axis in axes) > 1:
        raise tracer.refuse("compares every step with every other; compute each step from what came before it")
    nodes, waiting = [], list(values)
    for given in operands:
        if isinstance(given, Value):
            nodes.append(_row(tracer, waiting.pop(0), axes))
        else:
            nodes.append(const_rows(tracer, given, axes, lead.steps or tracer.steps))
    return nodes, replace(lead, axes=axes)


def in_line(tracer: Tracer, values: Sequence[Value]) -> list[Value]:
    """The values with the same first step: those that begin earlier are delayed."""
    first = max((value.first for value in values if value.time_axis is not None), default=0)
    return [delayed(tracer, value, first) if value.time_axis is not None else value for value in values]


def delayed(tracer: Tracer, value: Value, first: int) -> Value:
    """The value whose index 0 is taken for the step ``first``: its rows come ``first - value.first`` steps later."""
    lag = first - value.first
    if lag == 0:
        return value
    node = tracer.table.make(
        "Delay",
        [value.node, tracer.table.const(past_rows(tracer, value, lag))],
        shape=value.node.shape,
        dtype=value.node.dtype,
        steps=lag,
    )
    return replace(value, node=node, first=first)


def filled(tracer: Tracer, value: Value, before: int, row: np.ndarray) -> Value:
    """The value behind ``before`` constant rows: those that fall on step 0 and later take the place of its own."""
    kept = min(before, value.first)
    if kept <= 0:
        return replace(value, first=value.first - before)
    early = tracer.table.make(
        "Less", [counter(tracer), tracer.table.const(np.asarray(value.first, np.int64))], shape=(), dtype="bool"
    )
    early = reshaped(tracer, early, [1] * len(value.node.shape))
    const = tracer.table.const(np.broadcast_to(row.astype(value.node.dtype), value.node.shape))
    node = tracer.table.make("Where", [early, const, value.node], shape=value.node.shape, dtype=value.node.dtype)
    return replace(value, node=node, first=value.first - before)


def past_rows(tracer: Tracer, value: Value, count: int) -> np.ndarray:
    """The rows of the ``count`` steps before step 0: those of the padding, and zeros before it."""
    rows = np.zeros((count, *value.node.shape), value.node.dtype)
    known = min(count, max(0, -value.first))
    if known:
        axis = value.time_axis
        if axis is None or value.axes[axis] != ("T",):
            raise tracer.refuse("pads time while it is merged with another axis; pad before the view")
        start = -value.first - known
        padding = value.tensor.narrow(axis, start, known)
        axes = [() if i == axis else a for i, a in enumerate(value.axes)]
        for step in range(known):
            rows[count - known + step] = _without_batch(
                tracer, padding.select(axis, step), [a for a in axes if a]
            ).reshape(value.node.shape)
    return rows


def const_rows(tracer: Tracer, given: Tensor | float | int | bool, axes: Sequence[Axis], steps: int) -> Node:
    """A constant as rows for ``axes``. One that differs from step to step counts them, or is refused."""
    if not isinstance(given, Tensor):
        return tracer.table.const(np.asarray(given))
    extra = given.dim() - len(axes)
    given = given.reshape(given.shape[extra:]) if extra > 0 else given
    axes = list(axes)[len(axes) - given.dim() :]
    for position, axis in enumerate(axes):
        if "T" in axis and given.shape[position] not in (1, size_of(axis)):
            if axis != ("T",) and given.shape[position] != size_of(axis) * steps * (tracer.batch if "B" in axis else 1):
                raise tracer.refuse("joins a constant to time in a way that cannot be followed; broadcast it")
            if axis != ("T",):
                sizes = [steps if item == "T" else tracer.batch if item == "B" else int(item) for item in axis]
                given = torch.unflatten(given, position, sizes)
                axes[position : position + 1] = [(item,) for item in axis]
                return const_rows(tracer, given, axes, steps)
            return _counted(tracer, given, axes, position)
    array = _without_batch(tracer, given, axes)
    return tracer.table.const(array)


def _without_batch(tracer: Tracer, given: Tensor, axes: Sequence[Axis]) -> np.ndarray:
    """A constant without its time and batch axes; every stream must have the same of it."""
    kept: list[int] = []
    for position, axis in enumerate(axes):
        if "B" in axis and given.shape[position] > max(1, size_of(axis)):
            given = (
                torch.unflatten(given, position, (tracer.batch, -1))
                if axis[0] == "B"
                else torch.unflatten(given, position, (-1, tracer.batch)).movedim(position + 1, position)
            )
            first = given.select(position, 0)
            if not bool((given == first.unsqueeze(position)).all()) and not bool(given.isnan().any()):
                raise tracer.refuse(
                    "treats the streams of a batch unlike each other; every stream must be treated alike"
                )
            given = first
        kept.append(given.shape[position])
    sizes = [kept[i] for i, axis in enumerate(axes) if any(isinstance(item, int) for item in axis)]
    return given.detach().reshape(sizes).numpy()


def _counted(tracer: Tracer, given: Tensor, axes: Sequence[Axis], position: int) -> Node:
    """A constant that differs from step to step: the same for all, or one that grows evenly."""
    rows = given.movedim(position, 0)
    rest = [axis for i, axis in enumerate(axes) if i != position]
    stacked = np.stack([_without_batch(tracer, row, rest) for row in rows])
    first, growth = stacked[0], stacked[1] - stacked[0] if stacked.dtype != bool else np.zeros(1)
    if (stacked == first).all():
        return tracer.table.const(first)
    even = first + np.arange(len(stacked), dtype=stacked.dtype).reshape(-1, *[1] * first.ndim) * growth
    if stacked.dtype == bool or not np.array_equal(even, stacked):
        raise tracer.refuse(
            "has a value of its own for each step of the sequence (a table of positions, a mask over time or padding"
            " behind it); a stream has no last step: compute it from the step's number, or leave it out"
        )
    count = cast(tracer, counter(tracer), str(stacked.dtype))
    shape = (*[1] * first.ndim,)
    count = tracer.table.make("Reshape", [count], shape=shape, dtype=count.dtype) if shape else count
    grown = tracer.table.make("Mul", [count, tracer.table.const(growth)], shape=growth.shape, dtype=count.dtype)
    return tracer.table.make("Add", [grown, tracer.table.const(first)], shape=first.shape, dtype=count.dtype)


def counter(tracer: Tracer) -> Node:
    """The number of the step, from 0: ``int64[]``."""
    return tracer.table.make("Index", shape=(), dtype="int64", when=SEQUENCE)


def cast(tracer: Tracer, node: Node, dtype: str) -> Node:
    """The node in another type."""
    if node.dtype == dtype:
        return node
    if node.kind == "Const":
        assert node.array is not None
        return tracer.table.const(node.array.astype(dtype))
    return tracer.table.make("Cast", [node], shape=node.shape, dtype=dtype)


def reshaped(tracer: Tracer, node: Node, shape: Sequence[int]) -> Node:
    """The node's rows in another shape."""
    if node.shape == tuple(shape):
        return node
    if node.kind == "Const":
        assert node.array is not None
        return tracer.table.const(node.array.reshape(shape))
    if node.kind == "Reshape":
        return reshaped(tracer, node.args[0], shape)
    return tracer.table.make("Reshape", [node], shape=shape, dtype=node.dtype)


def _joint_axis(
    tracer: Tracer, values: Sequence[Value], constants: Sequence[Tensor], position: int, apart: bool
) -> Axis:
    """The axis ``position`` (from the end) of what the values broadcast to."""
    found = [value.axes[position] for value in values if -position <= len(value.axes)]
    moving = {dynamic(axis) for axis in found if dynamic(axis)}
    if len(moving) > 1:
        raise tracer.refuse("joins tensors whose time and batch lie on different axes; transpose one of them")
    if not moving:
        sizes = [size_of(axis) for axis in found]
        sizes += [given.shape[position] for given in constants if -position <= given.dim()]
        size = max(sizes, default=1)
        return (size,)
    layouts = {axis for axis in found if dynamic(axis)}
    if apart or len(layouts) > 1 or any(not dynamic(axis) and size_of(axis) > 1 for axis in found):
        raise tracer.refuse("joins time or batch with another axis; keep them apart")
    return layouts.pop()


def _row(tracer: Tracer, value: Value, axes: Sequence[Axis]) -> Node:
    """The value's rows with one size for each axis of ``axes`` that has a size."""
    missing = len(axes) - len(value.axes)
    sizes: list[int] = []
    for position, axis in enumerate(axes):
        if not any(isinstance(item, int) for item in axis):
            continue
        own = value.axes[position - missing] if position >= missing else (1,)
        sizes += [item for item in own if isinstance(item, int)] or [1]
    if math.prod(sizes) != math.prod(value.node.shape):
        raise tracer.refuse("broadcasts in a way that cannot be followed; give both tensors the same axes")
    return reshaped(tracer, value.node, sizes)


def made(tracer: Tracer, like: Value, node: Node, tensor: Tensor) -> Value:
    """``like`` with another node; checked against the tensor of the sample run."""
    value = replace(like, node=node, tensor=tensor)
    shape = tuple(logical_size(tracer, value, axis) for axis in value.axes)
    if shape != tuple(tensor.shape) or node.shape != sizes_of(value.axes) or node.dtype != numpy_dtype(tensor.dtype):
        raise tracer.refuse(
            f"has a tensor {list(tensor.shape)} that was followed as {list(shape)} ({node.kind});"
            " report the module, or write its forward in another way"
        )
    if node.when == ALWAYS and node not in tracer.rows and _is_fixed(tracer, node):
        rows = node.array if node.kind == "Const" else _without_batch(tracer, tensor, value.axes).copy()
        assert rows is not None
        tracer.rows[node] = rows
    return value


def _is_fixed(tracer: Tracer, node: Node) -> bool:
    """Whether no input changes it."""
    return node.kind == "Const" or (
        node.kind != "Input" and all(arg in tracer.rows or arg.kind == "Const" for arg in node.args)
    )


def logical_size(tracer: Tracer, value: Value, axis: Axis) -> int:
    """How long an axis is in the sample run."""
    sizes = {"T": value.steps or tracer.steps, "B": tracer.batch}
    return math.prod(sizes[item] if isinstance(item, str) else item for item in axis)


def ahead(value: Value, tracer: Tracer) -> str:
    """Who looks ahead, or leaves out the first steps, how far, and the remedy."""
    where = value.whose or tracer.where
    if value.steps != tracer.steps:
        return (
            f"{where} gives {value.steps - tracer.steps:+d} steps as against the input; keep one a step: pad on the left by"
            " what a window takes, and trim what padding adds at the end"
        )
    return (
        f"{where} looks {value.first} step{'s' if value.first > 1 else ''} ahead: what it gives for a step needs later ones;"
        " make it causal, e.g. a convolution with padding=(kernel_size - 1) * dilation whose end is trimmed, or F.pad on"
        " the left"
    )


def is_constant(node: Node) -> bool:
    """Whether no step and no stream changes it."""
    return node.kind == "Const" and node.when == ALWAYS


def tensor_of(argument: Any) -> Tensor:
    """A constant tensor argument."""
    assert isinstance(argument, Tensor)
    return argument if not isinstance(argument, torch.nn.Parameter) else argument.detach()
