"""One index of an axis or a stretch of it; an axis reversed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from edge_rnn.contract.errors import ExportRefused
from exporters.trace.registry import Call, rule
from exporters.trace.rules.align import ahead, made, reshaped
from exporters.trace.rules.shape import value_of, viewed
from exporters.trace.tracer import Tracer
from exporters.trace.values import Axis, Pieces, Value, sizes_of

MORE = 0.45
"""Share of the sequence up to which a stretch taken from it is what is left after a trim, not a window."""


def check_whole(tracer: Tracer, axis: Axis) -> None:
    """Raise `ExportRefused` where an operation would take part of the batch, or of time merged with another axis."""
    if "B" in axis:
        raise tracer.refuse("takes some streams out of the batch; every stream must be treated alike")
    if "T" in axis:
        raise tracer.refuse("cuts an axis that time is merged into; cut before the view")


@rule("select")
def select(tracer: Tracer, call: Call) -> Any:
    """One index of an axis: of time, one step."""
    dim, index = call["dim"] % call["self"].dim(), call["index"]
    index = index + call["self"].shape[dim] if index < 0 else index
    known = tracer.known(call["self"])
    if isinstance(known, Pieces) and known.dim == dim:
        start = 0
        for part, size in zip(known.parts, known.sizes, strict=True):
            if start <= index < start + size:
                return _part(tracer, part, dim, index - start, call.result)
            start += size
    return _selected(tracer, value_of(tracer, call), dim, index, call.result)


def _part(tracer: Tracer, part: Value | Tensor, dim: int, index: int, result: Tensor) -> Value | None:
    return None if isinstance(part, Tensor) else _selected(tracer, part, dim, index, result)


def _selected(tracer: Tracer, value: Value, dim: int, index: int, result: Tensor) -> Value | None:
    axis = value.axes[dim]
    axes = value.axes[:dim] + value.axes[dim + 1 :]
    if axis == ("T",):
        node = at_step(tracer, value, index)
        return None if node is None else made(tracer, replace(value, axes=axes, first=0, steps=0), node, result)
    check_whole(tracer, axis)
    taken = cut_rows(tracer, value, dim, index, index + 1, value.tensor.narrow(dim, index, 1))
    node = reshaped(tracer, taken.node, sizes_of(axes))
    return made(tracer, replace(taken, axes=axes), node, result)


def at_step(tracer: Tracer, value: Value, index: int) -> Any:
    """The node of one index of time; ``None`` for padding before step 0, which is constant."""
    step = value.first + index
    if value.first > 0 and value.steps >= tracer.steps:
        raise ExportRefused(ahead(value, tracer))
    if step < 0:
        return None
    if step >= tracer.steps:
        raise tracer.refuse(
            "takes a step beyond the last: what was padded behind it; pad on the left only, or trim the end first"
        )
    return tracer.table.at(value.node, step)


@rule("slice", "narrow")
def stretch(tracer: Tracer, call: Call) -> Any:
    """A stretch of an axis."""
    given = call["self"]
    dim = (call.get("dim") or 0) % given.dim()
    size = given.shape[dim]
    start, end, step = call.get("start") or 0, call.get("end"), call.get("step", 1)
    start = min(size, start + size if start < 0 else start)
    end = size if end is None else min(size, end + size if end < 0 else end)
    known = tracer.known(given)
    if isinstance(known, Pieces) and known.dim == dim and step == 1:
        return _parts(tracer, known, start, end, call.result)
    value = value_of(tracer, call)
    if step != 1:
        if "T" in value.axes[dim]:
            raise tracer.refuse(
                f"takes one step in {step}: it would answer some steps only; take every step and leave the others to who reads"
            )
        check_whole(tracer, value.axes[dim])
        return cut_rows(tracer, value, dim, start, end, call.result, step)
    if start == 0 and end == size:
        return made(tracer, value, value.node, call.result)
    if value.axes[dim] != ("T",):
        check_whole(tracer, value.axes[dim])
        return cut_rows(tracer, value, dim, start, end, call.result)
    trimmed = replace(value, first=value.first + start, steps=end - start, tensor=call.result)
    if end - start == 0:
        return None
    beyond = value.first + end - tracer.steps
    if end - start > 1 and abs(trimmed.first) <= tracer.steps * MORE and beyond >= -tracer.steps * MORE:
        return made(tracer, replace(trimmed, whose=tracer.where if start else value.whose), value.node, call.result)
    window = [_selected(tracer, value, dim, i, value.tensor.select(dim, i)) for i in range(start, end)]
    parts = tuple(
        value.tensor.narrow(dim, start + i, 1)
        if part is None
        else viewed(tracer, part, value.tensor.narrow(dim, start + i, 1))
        for i, part in enumerate(window)
    )
    if len(parts) == 1:
        return None if isinstance(parts[0], Tensor) else replace(parts[0], tensor=call.result)
    return Pieces(dim, parts, (1,) * len(parts), call.result)


def _parts(tracer: Tracer, known: Pieces, start: int, end: int, result: Tensor) -> Any:
    parts: list[Value | Tensor] = []
    sizes: list[int] = []
    position = 0
    for part, size in zip(known.parts, known.sizes, strict=True):
        low, high = max(start - position, 0), min(end - position, size)
        if low < high:
            sizes.append(high - low)
            if isinstance(part, Tensor):
                parts.append(part.narrow(known.dim, low, high - low))
            elif high - low == size:
                parts.append(part)
            else:
                cut = part.tensor.narrow(known.dim, low, high - low)
                parts.append(cut_rows(tracer, part, known.dim, low, high, cut))
        position += size
    if all(isinstance(part, Tensor) for part in parts):
        return None
    if len(parts) == 1:
        assert isinstance(parts[0], Value)
        return replace(parts[0], tensor=result)
    return Pieces(known.dim, tuple(parts), tuple(sizes), result)


def cut_rows(tracer: Tracer, value: Value, dim: int, start: int, end: int, result: Tensor, step: int = 1) -> Value:
    """A stretch of a size of the rows."""
    position = sum(isinstance(item, int) for axis in value.axes[:dim] for item in axis)
    axis: Axis = (result.shape[dim],)
    axes = (*value.axes[:dim], axis, *value.axes[dim + 1 :])
    shape = sizes_of(axes)
    axis_from_end = position - len(shape)
    node = value.node
    if (start, end, step) != (0, node.shape[position], 1):
        node = tracer.table.make(
            "Slice", [node], shape=shape, dtype=node.dtype, axis=axis_from_end, start=start, end=end, step=step
        )
    return made(tracer, replace(value, axes=axes), node, result)


@rule("split", "split_with_sizes", "chunk", "unsafe_split", "unsafe_split_with_sizes", "unsafe_chunk", "unbind")
def split(tracer: Tracer, call: Call) -> list[Any]:
    """Several stretches side by side, or every index."""
    dim = call.get("dim", 0) % call["self"].dim()
    found: list[Any] = []
    start = 0
    for number, part in enumerate(call.result):
        if call.name == "unbind":
            found.append(select(tracer, Call("select", {"self": call["self"], "dim": dim, "index": number}, part)))
            continue
        end = start + part.shape[dim]
        found.append(
            stretch(tracer, Call("slice", {"self": call["self"], "dim": dim, "start": start, "end": end}, part))
        )
        start = end
    return found


@rule("flip", "roll")
def turn(tracer: Tracer, call: Call) -> Value:
    """An axis reversed, or rolled."""
    value = value_of(tracer, call)
    dims = [dim % len(value.axes) for dim in call["dims"]]
    if any("T" in value.axes[dim] for dim in dims):
        raise tracer.refuse(
            f"{'reverses' if call.name == 'flip' else 'rolls'} time, which needs steps that have not come yet;"
            " take the past only, e.g. pad on the left and trim the end"
        )
    node = value.node
    for number, dim in enumerate(dims):
        check_whole(tracer, value.axes[dim])
        position = sum(isinstance(item, int) for axis in value.axes[:dim] for item in axis)
        order = list(range(node.shape[position]))
        order = order[::-1] if call.name == "flip" else [order[i - call["shifts"][number]] for i in order]
        node = taken(tracer, node, position, order)
    return made(tracer, value, node, call.result)


def taken(tracer: Tracer, node: Any, position: int, order: Sequence[int]) -> Any:
    """Entries of an axis of the rows, by their numbers."""
    shape = (*node.shape[:position], len(order), *node.shape[position + 1 :])
    return tracer.table.make(
        "Take", [node], shape=shape, dtype=node.dtype, axis=position - len(shape), order=tuple(order)
    )
