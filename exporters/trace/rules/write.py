"""Tensors written in place: what the tensor shows after a view of it was written to."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from exporters.trace.registry import Call, rule
from exporters.trace.rules.align import aligned, cast, made
from exporters.trace.rules.shape import expand, viewed
from exporters.trace.rules.stretch import cut_rows
from exporters.trace.tracer import Tracer
from exporters.trace.values import Known, Pieces, Value, numpy_dtype


@rule("copy")
def copy(tracer: Tracer, call: Call) -> Any:
    """Another tensor's values, broadcast."""
    value = tracer.value(call["src"])
    if value is None:  # a constant written where rows were followed
        return None
    nodes, like = aligned(tracer, [value], call.result.dim())
    if tuple(value.tensor.shape) != tuple(call.result.shape):
        value = _broadcast(tracer, value, call.result)
        nodes, like = [value.node], value
    return made(tracer, like, cast(tracer, nodes[0], numpy_dtype(call.result.dtype)), call.result)


@rule("fill", "zero")
def fill(_: Tracer, __: Call) -> Any:
    """One value everywhere: nothing of the input is left."""
    return None


def _broadcast(tracer: Tracer, value: Value, result: Tensor) -> Value:
    found: Value = expand(tracer, Call("expand", {"self": value.tensor}, result))
    return found


def write_through(
    tracer: Tracer, base: Tensor, before: Known | None, name: str, view: Mapping[str, Any], written: Known | None
) -> Known:
    """What ``base`` shows after its view by ``name`` was written: most often one more part of its pieces.

    Raises `ExportRefused` for views that cannot be written through.
    """
    if isinstance(written, Pieces):
        written = tracer.value(written.tensor)
    if name in ("alias", "detach", "view", "unsqueeze", "squeeze") and isinstance(written, Value):
        return viewed(tracer, written, base)
    if name not in ("select", "slice") or view.get("step", 1) not in (1, None):
        raise tracer.refuse(f"writes in place through {name!r}, which cannot be followed; write to a tensor of its own")
    rank = base.dim()
    dim = (view.get("dim") or 0) % rank
    size = base.shape[dim]
    if name == "select":
        start = view["index"] % size
        end = start + 1
    else:
        start, end, _ = slice(view.get("start"), view.get("end")).indices(size)
    if isinstance(written, Value) and end - start == size and "T" in written.axes[dim if name == "slice" else 0]:
        return replace(written, tensor=base)
    known = before if isinstance(before, Pieces) and before.dim == dim else _in_parts(tracer, base, before, dim)
    shape = list(base.shape)
    shape[dim] = end - start
    patch: Value | Tensor
    if isinstance(written, Value):
        wide = written.tensor.unsqueeze(dim) if name == "select" else written.tensor
        patch = viewed(tracer, written, wide)
    else:
        patch = base.narrow(dim, start, end - start).clone()
    parts: list[Value | Tensor] = []
    sizes: list[int] = []
    position = 0
    placed = False
    for part, length in zip(known.parts, known.sizes, strict=True):
        for low, high, inside in _cuts(position, position + length, start, end):
            if inside:
                if not placed:
                    parts.append(patch)
                    sizes.append(end - start)
                    placed = True
                continue
            parts.append(_cut(tracer, part, dim, low - position, high - position, length))
            sizes.append(high - low)
        position += length
    return Pieces(dim, tuple(parts), tuple(sizes), base)


def _in_parts(tracer: Tracer, base: Tensor, before: Known | None, dim: int) -> Pieces:
    """A tensor as pieces along ``dim``: one part where it is a constant or has no time there."""
    if before is None:
        return Pieces(dim, (base.detach().clone(),), (base.shape[dim],), base)
    value = tracer.value(base) if not isinstance(before, Value) else before
    assert value is not None
    if "T" in value.axes[dim] or value.node.is_sequence:
        raise tracer.refuse(
            "writes in place to some steps or entries of a whole sequence; use torch.where, torch.cat or pad instead"
        )
    return Pieces(dim, (value,), (base.shape[dim],), base)


def _cuts(low: int, high: int, start: int, end: int) -> list[tuple[int, int, bool]]:
    """``low:high`` cut at ``start`` and ``end``: each piece, and whether it lies between them."""
    points = sorted({low, high, min(max(start, low), high), min(max(end, low), high)})
    return [(a, b, start <= a and b <= end) for a, b in itertools.pairwise(points)]


def _cut(tracer: Tracer, part: Value | Tensor, dim: int, low: int, high: int, length: int) -> Value | Tensor:
    if high - low == length:
        return part
    if isinstance(part, Tensor):
        return part.narrow(dim, low, high - low)
    return cut_rows(tracer, part, dim, low, high, part.tensor.narrow(dim, low, high - low))
