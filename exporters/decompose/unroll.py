"""A Scan over a fixed number of steps, written out: its body once for each step, without the loop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from onnx import GraphProto, NodeProto, TensorProto, helper

from edge_rnn.contract.errors import ExportRefused
from exporters.foreign.flow import attribute_of, bodies, node_name
from exporters.precision.quantise import Additions


def unroll_scan(node: NodeProto, chunk: int) -> Additions:
    """The nodes that take the place of a Scan of opset 9 or later over ``chunk`` steps; its outputs keep their names.

    Raises `ExportRefused` for a body that has bodies itself.
    """
    body = cast(GraphProto, attribute_of(node, "body", None))
    if any(True for inner in body.node for _ in bodies(inner)):
        raise ExportRefused(
            f"node {node_name(node)!r} (Scan) cannot be written out for TensorRT: its body holds another loop or branch;"
            " run the bundle on the CPU or with CUDA"
        )
    scanned = cast(int, attribute_of(node, "num_scan_inputs", None))
    states = len(node.input) - scanned
    to = Additions(f"{next(name for name in node.output if name)}/steps")
    kept = {tensor.name: _keep(to, tensor) for tensor in body.initializer}
    axes, backwards = (_list(node, f"scan_input_{what}", scanned) for what in ("axes", "directions"))
    read = [
        _pieces(to, name, number, chunk, axes[number], backwards=bool(backwards[number]))
        for number, name in enumerate(node.input[states:])
    ]
    current = list(node.input[:states])
    rows: list[list[str]] = []
    for step in range(chunk):
        given = [*current, *(pieces[step] for pieces in read)]
        names = kept | {value.name: name for value, name in zip(body.input, given, strict=True)}
        _write_step(to, body, names, step)
        results = [names.get(value.name, value.name) for value in body.output]
        current = results[:states]
        rows.append(results[states:])
    for name, value in zip(node.output, current, strict=False):
        if name:
            _give(to, "Identity", [value], name)
    count = len(body.output) - states
    axes, backwards = (_list(node, f"scan_output_{what}", count) for what in ("axes", "directions"))
    for number, name in enumerate(node.output[states:]):
        if name:
            axis = _axis(to, axes[number])
            parts = [to.op("Unsqueeze", [row[number], axis], f"out.{number}.{t}") for t, row in enumerate(rows)]
            _give(to, "Concat", parts[::-1] if backwards[number] else parts, name, axis=axes[number])
    return to


def _write_step(to: Additions, body: GraphProto, names: dict[str, str], step: int) -> None:
    """The body's nodes under names of their own; ``names`` learns what became of the body's."""
    for inner in body.node:
        copy = NodeProto.FromString(inner.SerializeToString())
        copy.name = f"{to.prefix}.{step}/{node_name(inner)}"
        for number, name in enumerate(copy.input):
            copy.input[number] = names.get(name, name)
        for number, name in enumerate(inner.output):
            if name:
                names[name] = f"{to.prefix}.{step}/{name}"
                copy.output[number] = names[name]
        to.nodes.append(copy)


def _pieces(to: Additions, name: str, number: int, chunk: int, axis: int, *, backwards: bool) -> list[str]:
    """What each step reads of a sequence: the sequence without its time axis."""
    ends = [f"in.{number}.{step}" for step in range(chunk)]
    parts = [name]
    if chunk > 1:
        to.op("Split", [name, to.weight(np.ones(chunk, np.int64), "ones")], ends, axis=axis)
        parts = [f"{to.prefix}/{end}" for end in ends]
    rows = [to.op("Squeeze", [part, _axis(to, axis)], f"{end}.row") for part, end in zip(parts, ends, strict=True)]
    return rows[::-1] if backwards else rows


def _keep(to: Additions, tensor: TensorProto) -> str:
    copy = TensorProto.FromString(tensor.SerializeToString())
    copy.name = f"{to.prefix}/{tensor.name}"
    to.weights.append(copy)
    return str(copy.name)


def _list(node: NodeProto, name: str, count: int) -> Sequence[int]:
    return cast(Sequence[int], attribute_of(node, name, None) or [0] * count)


def _axis(to: Additions, axis: int) -> str:
    return to.weight(np.array([axis], np.int64), f"axis.{axis}")


def _give(to: Additions, kind: str, inputs: Sequence[str], name: str, **attributes: Any) -> None:
    to.nodes.append(helper.make_node(kind, list(inputs), [name], name=f"{name}/{kind}", **attributes))
