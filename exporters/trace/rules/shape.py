"""Views: axes merged, split, swapped, repeated; another type."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from exporters.trace.nodes import ALWAYS, SEQUENCE
from exporters.trace.registry import Call, rule
from exporters.trace.rules.align import cast, logical_size, made, reshaped
from exporters.trace.tracer import Tracer
from exporters.trace.values import Axis, Pieces, Value, dynamic, numpy_dtype, regroup, size_of, sizes_of


def value_of(tracer: Tracer, call: Call) -> Value:
    """The value of the argument ``self``."""
    value = tracer.value(call["self"])
    assert value is not None
    return value


@rule("view", "_unsafe_view", "reshape", "flatten", "unflatten")
def view(tracer: Tracer, call: Call) -> Value:
    """Another shape in the same order."""
    return viewed(tracer, value_of(tracer, call), call.result)


def viewed(tracer: Tracer, value: Value, result: Tensor) -> Value:
    """The value in the shape of ``result``."""
    sizes = {"T": value.steps or tracer.steps, "B": tracer.batch}
    axes = regroup(value.axes, result.shape, sizes)
    if axes is None:
        raise tracer.refuse(
            f"views {list(value.tensor.shape)} as {list(result.shape)}, which cuts time or batch into parts; keep their axes whole"
        )
    return made(tracer, replace(value, axes=axes), reshaped(tracer, value.node, sizes_of(axes)), result)


@rule("unsqueeze", "squeeze", "alias", "detach", "clone", "contiguous", "lift_fresh", "expand_as", "positive")
def respaced(tracer: Tracer, call: Call) -> Any:
    """Axes of size 1 more or fewer, or nothing at all."""
    known = tracer.known(call["self"])
    if isinstance(known, Pieces) and call.name in ("alias", "detach", "clone", "contiguous", "unsqueeze"):
        parts = known.parts
        dim = known.dim
        if call.name == "unsqueeze":
            at = call["dim"] % call.result.dim()
            parts = tuple(_unsqueezed(tracer, part, at) for part in parts)
            dim += at <= known.dim
        return replace(known, dim=dim, parts=parts, tensor=call.result)
    return viewed(tracer, value_of(tracer, call), call.result)


def _unsqueezed(tracer: Tracer, part: Value | Tensor, at: int) -> Value | Tensor:
    if isinstance(part, Tensor):
        return part.unsqueeze(at)
    return viewed(tracer, part, part.tensor.unsqueeze(at))


@rule("permute", "transpose", "t", "numpy_T", "swapaxes", "movedim")
def permute(tracer: Tracer, call: Call) -> Any:
    """Axes in another order."""
    rank = call["self"].dim()
    order = list(range(rank))
    if call.name == "permute":
        order = [dim % rank for dim in call["dims"]]
    elif rank > 1:
        a, b = (call.get("dim0", 0) % rank, call.get("dim1", 1) % rank)
        order[a], order[b] = order[b], order[a]
    known = tracer.known(call["self"])
    if isinstance(known, Pieces):
        parts = tuple(
            part.permute(order)
            if isinstance(part, Tensor)
            else permuted(tracer, part, order, part.tensor.permute(order))
            for part in known.parts
        )
        return replace(known, dim=order.index(known.dim), parts=parts, tensor=call.result)
    return permuted(tracer, value_of(tracer, call), order, call.result)


def permuted(tracer: Tracer, value: Value, order: Sequence[int], result: Tensor) -> Value:
    """The axes in this order, and the sizes of the rows with them."""
    axes = tuple(value.axes[i] for i in order)
    numbered: list[list[int]] = []
    count = 0
    for axis in value.axes:
        own = sum(isinstance(item, int) for item in axis)
        numbered.append(list(range(count, count + own)))
        count += own
    perm = tuple(number for i in order for number in numbered[i])
    node = value.node
    if perm != tuple(range(count)):
        shape = tuple(node.shape[i] for i in perm)
        node = tracer.table.make("Transpose", [node], shape=shape, dtype=node.dtype, perm=perm)
    return made(tracer, replace(value, axes=axes), node, result)


@rule("expand", "repeat")
def expand(tracer: Tracer, call: Call) -> Value:
    """Rows repeated along axes; what has no time may be given to every step."""
    value, result = value_of(tracer, call), call.result
    axes: list[Axis] = [(1,)] * (result.dim() - len(value.axes)) + list(value.axes)
    timed = value.time_axis is not None
    sizes: list[int] = []
    repeats: list[int] = []
    for position, axis in enumerate(axes):
        size, own = result.shape[position], logical_size(tracer, value, axis)
        if size != own and own == 1 and size == tracer.steps and not timed and value.node.when == ALWAYS:
            axes[position], timed = ("T",), True
            continue
        if size != own and own == 1 and size == tracer.batch and not any("B" in other for other in axes):
            axes[position] = ("B",)
            continue
        if size != own and dynamic(axis):
            raise tracer.refuse("repeats time or batch; leave them as they are")
        if sizes_of([axis]):
            sizes.append(size_of(axis))
            repeats.append(size // own if size != own else 1)
            axes[position] = axis if size == own else (size,)
    node = reshaped(tracer, value.node, sizes)
    steps = value.steps
    if timed and value.time_axis is None:
        node = tracer.table.make("EveryStep", [node], shape=node.shape, dtype=node.dtype, when=SEQUENCE)
        steps = tracer.steps
    if any(n != 1 for n in repeats):
        shape = sizes_of(axes)
        node = tracer.table.make("Tile", [node], shape=shape, dtype=node.dtype, repeats=tuple(repeats))
    return made(tracer, replace(value, axes=tuple(axes), steps=steps), node, result)


@rule("_to_copy", "to", "type_as", "float", "double", "long")
def convert(tracer: Tracer, call: Call) -> Value:
    """Another type."""
    value = value_of(tracer, call)
    return made(tracer, value, cast(tracer, value.node, numpy_dtype(call.result.dtype)), call.result)
