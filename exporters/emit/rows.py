"""Operations on rows as ONNX operators, behind one leading axis (a step: batch) or two (a sequence: time, batch)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from onnx import helper

from exporters.graph import GraphBuilder
from exporters.trace.nodes import Node


class RowEmitter:
    """Writes rows into ``graph``. ``lead`` is the number of leading axes."""

    def __init__(self, graph: GraphBuilder, lead: int) -> None:
        self.graph, self.lead = graph, lead
        self.checks: list[tuple[str, int]] = []
        """Tensors ``bool[time, batch, *row]``, and how many axes the row has: false where an input was not valid."""

    def emit(self, node: Node, args: Sequence[str], hint: str) -> str:
        """The node's operator on tensors that are emitted already; constants among them have no leading axes."""
        special = _SPECIAL.get(node.kind)
        if special is not None:
            return special(self, node, list(args), hint)
        return self.graph.op(node.kind, args, hint=hint, **dict(node.attrs))

    def sizes(self, values: Sequence[int], hint: str) -> str:
        """A list of numbers as a constant."""
        return self.graph.constant(np.asarray(values, np.int64), f"{hint}.sizes")

    def reshape(self, name: str, shape: Sequence[int], hint: str) -> str:
        """The rows in another shape."""
        return self.graph.op("Reshape", [name, self.sizes([0] * self.lead + list(shape), hint)], hint=hint)

    def leading(self, name: str, hint: str) -> str:
        """The sizes of the leading axes of a tensor."""
        shape = self.graph.op("Shape", [name], hint=hint)
        ends = [self.sizes([n], hint) for n in (0, self.lead)]
        return self.graph.op("Slice", [shape, *ends], hint=hint)

    def look_up(self, table: str, count: int, number: str, *, axes: int, wraps: bool, hint: str) -> str:
        """Rows of a table of ``count`` by ``number: int64``; for any other number the first one.

        Whether every number is one of the table's is kept in ``checks``: ``axes`` is how many the
        row of ``number`` has. ``wraps``: negative numbers count from the end, as in torch.
        """
        lowest, end, zero = (
            self.graph.constant(np.asarray(n, np.int64), f"{hint}.limit") for n in (-count if wraps else 0, count, 0)
        )
        above = self.graph.op("GreaterOrEqual", [number, lowest], hint=hint)
        inside = self.graph.op("And", [above, self.graph.op("Less", [number, end], hint=hint)], hint=hint)
        if self.lead > 1:
            self.checks.append((inside, axes))
        safe = self.graph.op("Where", [inside, number, zero], hint=hint)
        return self.graph.op("Gather", [table, safe], hint=hint)

    def spoil(self, name: str, row: int, hint: str) -> str:
        """NaN in place of the rows, of ``row`` axes, of steps where a check fails.

        The engine's recurrent operators give finite numbers for NaN: it has to stand in the outputs.
        """
        for check, axes in self.checks:
            if axes:
                given = self.graph.op(
                    "Cast", [check], hint=hint, to=int(helper.np_dtype_to_tensor_dtype(np.dtype("int32")))
                )
                given = self.graph.op("ReduceMin", [given], hint=hint, axes=[-1 - i for i in range(axes)], keepdims=0)
                check = self.graph.op(
                    "Cast", [given], hint=hint, to=int(helper.np_dtype_to_tensor_dtype(np.dtype("bool")))
                )
            if row:
                check = self.graph.op("Unsqueeze", [check, self.sizes([-1 - i for i in range(row)], hint)], hint=hint)
            nan = self.graph.constant(np.asarray(np.nan, np.float32), f"{hint}.nan")
            name = self.graph.op("Where", [check, name, nan], hint=hint)
        return name

    def expand(self, name: str, like: str, shape: Sequence[int], hint: str) -> str:
        """A constant repeated for every step and stream of ``like``."""
        sizes = self.graph.op("Concat", [self.leading(like, hint), self.sizes(shape, hint)], hint=hint, axis=0)
        return self.graph.op("Expand", [name, sizes], hint=hint)


Emit = Callable[[RowEmitter, Node, list[str], str], str]


def _cast(e: RowEmitter, node: Node, args: list[str], hint: str) -> str:
    to = int(helper.np_dtype_to_tensor_dtype(np.dtype(node.dtype)))
    return e.graph.op("Cast", args, hint=hint, to=to)


def _reshape(e: RowEmitter, node: Node, args: list[str], hint: str) -> str:
    return e.reshape(args[0], node.shape, hint)


def _transpose(e: RowEmitter, node: Node, args: list[str], hint: str) -> str:
    perm = [*range(e.lead), *(e.lead + i for i in node.attr("perm"))]
    return e.graph.op("Transpose", args, hint=hint, perm=perm)


def _slice(e: RowEmitter, node: Node, args: list[str], hint: str) -> str:
    given = [e.sizes([node.attr(name)], hint) for name in ("start", "end", "axis", "step")]
    return e.graph.op("Slice", [*args, *given], hint=hint)


def _take(e: RowEmitter, node: Node, args: list[str], hint: str) -> str:
    axis = e.lead + len(node.shape) + node.attr("axis")
    return e.graph.op("Gather", [args[0], e.sizes(node.attr("order"), hint)], hint=hint, axis=axis)


def _concat(e: RowEmitter, node: Node, args: list[str], hint: str) -> str:
    like = next(name for name, arg in zip(args, node.args, strict=True) if arg.kind != "Const")
    wide = [
        e.expand(name, like, arg.shape, hint) if arg.kind == "Const" else name
        for name, arg in zip(args, node.args, strict=True)
    ]
    return e.graph.op("Concat", wide, hint=hint, axis=node.attr("axis"))


def _expand(e: RowEmitter, node: Node, args: list[str], hint: str) -> str:
    return e.graph.op("Expand", [args[0], e.sizes([1] * e.lead + list(node.shape), hint)], hint=hint)


def _tile(e: RowEmitter, node: Node, args: list[str], hint: str) -> str:
    return e.graph.op("Tile", [args[0], e.sizes([1] * e.lead + list(node.attr("repeats")), hint)], hint=hint)


def _pad(e: RowEmitter, node: Node, args: list[str], hint: str) -> str:
    rank = e.lead + len(node.shape)
    pads = [0] * (2 * rank)
    pads[rank + node.attr("axis")], pads[2 * rank + node.attr("axis")] = node.attr("before"), node.attr("after")
    value = e.graph.constant(np.asarray(node.attr("value"), node.dtype), f"{hint}.value")
    return e.graph.op("Pad", [args[0], e.sizes(pads, hint), value], hint=hint)


def _rows(e: RowEmitter, node: Node, args: list[str], hint: str) -> str:
    table = node.args[1].array
    assert table is not None
    axes = len(node.args[0].shape)
    return e.look_up(args[1], len(table), args[0], axes=axes, wraps=node.attr("wraps"), hint=hint)


def _reduce(e: RowEmitter, node: Node, args: list[str], hint: str) -> str:
    axes = list(node.attr("axes"))
    if node.kind == "ReduceSum":
        return e.graph.op("ReduceSum", [args[0], e.sizes(axes, hint)], hint=hint, keepdims=1)
    return e.graph.op(node.kind, args, hint=hint, axes=axes, keepdims=1)


def _cumsum(e: RowEmitter, node: Node, args: list[str], hint: str) -> str:
    axis = e.graph.constant(np.asarray(node.attr("axis"), np.int64), f"{hint}.axis")
    return e.graph.op("CumSum", [args[0], axis], hint=hint)


def _conv(e: RowEmitter, node: Node, args: list[str], hint: str) -> str:
    """A convolution over features: all steps and streams are its batch."""
    pads = list(node.attr("pads")) * 2
    flat = e.graph.op("Reshape", [args[0], e.sizes([-1, *node.args[0].shape], hint)], hint=hint)
    y = e.graph.op(
        "Conv",
        [flat, *args[1:]],
        hint=hint,
        group=node.attr("group"),
        strides=node.attr("strides"),
        dilations=node.attr("dilations"),
        pads=pads,
    )
    shape = e.graph.op("Concat", [e.leading(args[0], hint), e.sizes(node.shape, hint)], hint=hint, axis=0)
    return e.graph.op("Reshape", [y, shape], hint=hint)


def _same(_: RowEmitter, __: Node, args: list[str], ___: str) -> str:
    return args[0]


_SPECIAL: dict[str, Emit] = {
    "Cast": _cast,
    "Reshape": _reshape,
    "Transpose": _transpose,
    "Slice": _slice,
    "Take": _take,
    "Concat": _concat,
    "Expand": _expand,
    "Tile": _tile,
    "Pad": _pad,
    "Rows": _rows,
    "CumSum": _cumsum,
    "Conv": _conv,
    "EveryStep": _same,
    **dict.fromkeys(("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceLogSumExp"), _reduce),
}
