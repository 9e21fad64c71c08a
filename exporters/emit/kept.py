"""Sequences that keep something of their past: windows, delays, sums, counts, and torch's own recurrent layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_rnn.contract.errors import ExportRefused
from exporters.emit.registry import Run
from exporters.graph import Attribute, GraphBuilder
from exporters.trace.nodes import ALWAYS, Node

if TYPE_CHECKING:
    from exporters.emit.streams import StreamEmitter

ROW = 2
"""The first axis of the row of a sequence, behind time and batch."""


class NeedsSteps(ExportRefused):
    """A layer taken whole does not give what is needed of its single steps."""


def _buffer(e: StreamEmitter, node: Node, steps: int, what: str, hint: str) -> str:
    """The rows of the ``steps`` steps before the call, and those of the call."""
    past = node.args[-1].array
    assert past is not None
    source = node.args[0]
    rows = e.wide(e.made[source], source)
    if steps == 0:
        return rows
    name, before = e.state(
        f"{e.prefix(node)}.{what}",
        (steps, "batch", *source.shape),
        source.dtype,
        past.reshape(steps, *source.shape),
    )
    joined = e.graph.op("Concat", [before, rows], hint=hint, axis=0)
    e.emission.next_state(name, e.cut(joined, -steps, None, hint))
    return joined


def delay(e: StreamEmitter, node: Node, hint: str) -> str:
    """The rows of some steps before."""
    steps = node.attr("steps")
    return e.cut(_buffer(e, node, steps, "past", hint), 0, -steps, hint)


def history(e: StreamEmitter, node: Node, hint: str) -> str:
    """The last few rows of every step, oldest first."""
    steps = node.attr("steps")
    rows = _buffer(e, node, steps, "past", hint)
    parts = [e.cut(rows, i, i - steps if i < steps else None, hint) for i in range(steps + 1)]
    axis = e.rows.sizes([ROW], hint)
    return e.graph.op(
        "Concat", [e.graph.op("Unsqueeze", [part, axis], hint=hint) for part in parts], hint=hint, axis=ROW
    )


def window(e: StreamEmitter, node: Node, hint: str) -> str:
    """A convolution over time: ``[time, batch, channels, ...]`` to ``[batch, channels, ..., time, ...]`` and back."""
    rank, timed = node.attr("rank"), node.attr("timed")
    rows = _buffer(e, node, node.attr("reach"), "past", hint)
    there = [1, 2, *(3 + i for i in range(rank - 1))]
    there.insert(2 + timed, 0)
    x = e.graph.op("Transpose", [rows], hint=hint, perm=there)
    y = e.graph.op(
        "Conv",
        [x, *(e.made[arg] for arg in node.args[1:-1])],
        hint=hint,
        group=node.attr("group"),
        strides=node.attr("strides"),
        dilations=node.attr("dilations"),
        pads=list(node.attr("pads")) * 2,
    )
    return e.graph.op("Transpose", [y], hint=hint, perm=[int(n) for n in np.argsort(there)])


def recurrent(e: StreamEmitter, node: Node, hint: str) -> str:
    """torch's LSTM or GRU as ONNX's operator of the same name; torch's GRU resets after the recurrent product."""
    prefix, kind = e.tracer.names[node], node.attr("of")
    kinds = ("h", "c") if kind == "LSTM" else ("h",)
    recurrence = e.tracer.recurrences[node]
    declared = []
    for which, (what, first) in enumerate(zip(kinds, node.args[4:], strict=True)):
        assert first.array is not None

        def read(run: Run, which: int = which) -> Any:
            return run.calls[recurrence.call][1 + which][recurrence.layer : recurrence.layer + 1]

        declared.append(e.state(f"{prefix}.{what}", (1, "batch", *node.shape), "float32", first.array, read))
    attributes: dict[str, Attribute] = {"hidden_size": node.shape[0]}
    if kind == "GRU":
        attributes["linear_before_reset"] = 1
    rows = e.wide(e.made[node.args[0]], node.args[0])
    y, *new = e.graph.ops(
        kind,
        [rows, *(e.made[arg] for arg in node.args[1:4]), "", *(before for _, before in declared)],
        outputs=("y", *kinds),
        hint=hint,
        **attributes,
    )
    for (name, _), value in zip(declared, new, strict=True):
        e.emission.next_state(name, value)
    return e.graph.op("Squeeze", [y, e.rows.sizes([1], hint)], hint=hint)


def cell(_: StreamEmitter, node: Node, __: str) -> str:
    """An LSTM's cell state at every step, which ONNX's operator does not give. Raises `NeedsSteps`."""
    raise NeedsSteps(f"the cell state of {node.path!r} is used beyond its last step")


def running(e: StreamEmitter, node: Node, hint: str) -> str:
    """A sum (in double precision, so that it lasts), the largest or the smallest so far."""
    source, kind = node.args[0], node.attr("of")
    rows = e.wide(e.made[source], source)
    if kind == "sum":
        wide = "float64" if source.dtype.startswith("float") else source.dtype
        name, before = e.state(
            f"{e.prefix(node)}.sum", (1, "batch", *node.shape), wide, np.zeros((1, *node.shape), wide)
        )
        rows = e.rows.emit(_cast(wide), [rows], hint) if wide != source.dtype else rows
        axis = e.graph.constant(np.asarray(0, np.int64), f"{hint}.axis")
        total = e.graph.op("Add", [e.graph.op("CumSum", [rows, axis], hint=hint), before], hint=hint)
        e.emission.next_state(name, e.cut(total, -1, None, hint))
        return e.rows.emit(_cast(source.dtype), [total], hint) if wide != source.dtype else total
    info = np.finfo(node.dtype) if node.dtype.startswith("float") else np.iinfo(node.dtype)
    first = np.full(node.shape, info.min if kind == "amax" else info.max, node.dtype)
    what = "largest" if kind == "amax" else "smallest"
    name, before = e.state(f"{e.prefix(node)}.{what}", ("batch", *node.shape), node.dtype, first)
    body = GraphBuilder()
    given = [body.input(f"{hint}/{role}", node.dtype, ("batch", *node.shape)) for role in ("so_far", "row")]
    new = body.op("Max" if kind == "amax" else "Min", given, hint=hint)
    for role in ("after", "each"):
        body.output(f"{hint}/{role}", new, node.dtype, ("batch", *node.shape))
    after, each = e.graph.ops(
        "Scan",
        [before, rows],
        outputs=("after", "each"),
        hint=hint,
        body=body.body(f"{hint}.{what}"),
        num_scan_inputs=1,
    )
    e.emission.next_state(name, after)
    return each


def index(e: StreamEmitter, _: Node, hint: str) -> str:
    """The number of each step, counted from 0."""
    name, before = e.state("step", (1, "batch"), "int64", np.zeros((1,), np.int64))
    one = e.graph.constant(np.asarray(1, np.int64), f"{hint}.one")
    ones = e.graph.op("Expand", [one, e.rows.leading(e.clock, hint)], hint=hint)
    axis = e.graph.constant(np.asarray(0, np.int64), f"{hint}.axis")
    total = e.graph.op("Add", [e.graph.op("CumSum", [ones, axis], hint=hint), before], hint=hint)
    e.emission.next_state(name, e.cut(total, -1, None, hint))
    return e.graph.op("Sub", [total, one], hint=hint)


def _cast(dtype: str) -> Node:
    return Node("Cast", (), (), (), dtype, ALWAYS, "", 0)


EMITTERS: dict[str, Callable[[Any, Node, str], str]] = {
    "Delay": delay,
    "History": history,
    "Window": window,
    "Recurrent": recurrent,
    "Running": running,
    "Index": index,
    "Cell": cell,
}
"""By kind of node."""
