"""Tensors side by side: along features, or a step after the other along time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor

from exporters.trace.fold import Family
from exporters.trace.nodes import ALWAYS, Node
from exporters.trace.registry import Call, rule, step_to_write
from exporters.trace.rules.align import aligned, cast, const_rows, filled, made
from exporters.trace.rules.shape import viewed
from exporters.trace.tracer import Tracer
from exporters.trace.values import Known, Pieces, Value, numpy_dtype


@rule("cat", "concat", "concatenate")
def cat(tracer: Tracer, call: Call) -> Any:
    """Tensors joined along an axis they have."""
    tensors = [tensor for tensor in call["tensors"] if tensor.shape != (0,)]
    dim = call.get("dim", 0) % call.result.dim()
    return _joined(tracer, [(tracer.known(tensor), tensor) for tensor in tensors], dim, call.result)


@rule("stack")
def stack(tracer: Tracer, call: Call) -> Any:
    """Tensors joined along a new axis."""
    dim = call.get("dim", 0) % call.result.dim()
    given: list[tuple[Known | None, Tensor]] = []
    for tensor in call["tensors"]:
        value = tracer.value(tensor)
        wide = tensor.unsqueeze(dim)
        given.append((None if value is None else viewed(tracer, value, wide), wide))
    return _joined(tracer, given, dim, call.result)


def _joined(tracer: Tracer, given: Sequence[tuple[Known | None, Tensor]], dim: int, result: Tensor) -> Any:
    parts: list[Value | Tensor] = []
    sizes: list[int] = []
    for known, tensor in given:
        if isinstance(known, Pieces) and known.dim == dim:
            parts += known.parts
            sizes += known.sizes
        else:
            parts.append(_joined_part(tracer, known) if known is not None else tensor)
            sizes.append(tensor.shape[dim])
    parts = [part.tensor if isinstance(part, Value) and part.node in tracer.rows else part for part in parts]
    followed = [part for part in parts if isinstance(part, Value)]
    if not followed:
        return None
    if any("T" in part.axes[dim] for part in followed):
        return _after_constants(tracer, parts, sizes, dim, result)
    if any("B" in part.axes[dim] for part in followed):
        raise tracer.refuse("joins streams of the batch; every stream must be treated alike")
    if all(part.node.when >= ALWAYS for part in followed) and any(part.node.when >= 0 for part in followed):
        return Pieces(dim, tuple(parts), tuple(sizes), result)
    return _side_by_side(tracer, parts, dim, result)


def _joined_part(tracer: Tracer, known: Known) -> Value:
    return join(tracer, known) if isinstance(known, Pieces) else known


def _after_constants(
    tracer: Tracer, parts: Sequence[Value | Tensor], sizes: Sequence[int], dim: int, result: Tensor
) -> Value:
    """A sequence with constant steps before or behind it."""
    places = [i for i, part in enumerate(parts) if isinstance(part, Value)]
    value = parts[places[0]]
    if len(places) != 1 or not isinstance(value, Value) or value.axes[dim] != ("T",):
        raise tracer.refuse(
            "joins several stretches of time, so that steps of it are treated unlike each other; pad with constants"
            " on the left only"
        )
    before = sum(sizes[: places[0]])
    row = np.zeros(())
    if min(before, value.first) > 0:  # of the constants, these fall on steps of the stream
        constants = result.narrow(dim, max(0, before - value.first), min(before, value.first))
        axes = tuple((1,) if i == dim else axis for i, axis in enumerate(value.axes))
        if not bool((constants == constants.narrow(dim, 0, 1)).all()):
            raise tracer.refuse("begins with constants that differ from step to step; begin with one value")
        node = const_rows(tracer, constants.narrow(dim, 0, 1), axes, tracer.steps)
        assert node.array is not None
        row = node.array.reshape(value.node.shape) if node.array.size > 1 else node.array
    found = filled(tracer, value, before, row)
    return replace(found, steps=sum(sizes), tensor=result)


def _side_by_side(tracer: Tracer, parts: Sequence[Value | Tensor], dim: int, result: Tensor) -> Value:
    """Rows joined along a size of theirs."""
    dtype = numpy_dtype(result.dtype)
    nodes, like = aligned(tracer, list(parts), result.dim(), apart=dim)
    axes = (*like.axes[:dim], (result.shape[dim],), *like.axes[dim + 1 :])
    shape = tuple(item for axis in axes for item in axis if isinstance(item, int))
    position = sum(isinstance(item, int) for axis in axes[:dim] for item in axis)
    wide: list[Node] = []
    for node in nodes:
        full = (*shape[:position], node.shape[position - len(shape)] if node.shape else 1, *shape[position + 1 :])
        node = cast(tracer, node, dtype)
        if node.shape != full:
            node = tracer.table.make("Expand", [node], shape=full, dtype=dtype)
        wide.append(node)
    node = tracer.table.make("Concat", wide, shape=shape, dtype=dtype, axis=position - len(shape))
    return made(tracer, replace(like, axes=axes), node, result)


def join(tracer: Tracer, known: Pieces) -> Value:
    """The pieces as one value: a sequence where they are one a step, else rows side by side."""
    steps = [part.node.when if isinstance(part, Value) else None for part in known.parts]
    numbered = [(i, step) for i, step in enumerate(steps) if step is not None and step >= 0]
    shift = numbered[0][0] - numbered[0][1]
    consecutive = all(i - step == shift for i, step in numbered) and set(known.sizes) == {1}
    if consecutive and len(numbered) >= tracer.steps - 2:
        return _over_time(tracer, known, shift)
    if set(known.sizes) == {1} and abs(len(known.parts) - tracer.steps) <= 1 and len({s for _, s in numbered}) > 2:
        raise tracer.refuse(f"puts together steps that are not alike; give the module {step_to_write(tracer.module)}")
    return _side_by_side(tracer, known.parts, known.dim, known.tensor)


def _over_time(tracer: Tracer, known: Pieces, shift: int) -> Value:
    """One part a step: the steps of a loop, put together."""
    values = [part for part in known.parts if isinstance(part, Value)]
    last = values[-1]
    if any(part.axes != last.axes or part.node.when < 0 for part in values) or len(values) != len(known.parts) - max(
        0, shift
    ):
        raise tracer.refuse(
            "puts together steps that are not alike: some have other axes, or do not depend on the input"
        )
    axes = (*last.axes[: known.dim], ("T",), *last.axes[known.dim + 1 :])
    shape = tuple(item for axis in axes for item in axis if isinstance(item, int))
    roots = [value.node for value in values]
    family = Family.of(tracer, roots)
    node = family.sequence(tracer)
    if node.shape != shape:
        node = tracer.table.make("Reshape", [node], shape=shape, dtype=node.dtype)
    like = replace(last, axes=axes, first=-shift, steps=len(known.parts))
    return made(tracer, like, node, known.tensor)
