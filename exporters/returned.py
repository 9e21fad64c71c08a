"""What a module returned, as outputs that stream: every tensor at its place, the last step's at every step."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from edge_rnn.contract.errors import ExportRefused
from edge_rnn.contract.signature import OutputSpec
from exporters.trace.fold import Family
from exporters.trace.nodes import ALWAYS, Node
from exporters.trace.rules.align import ahead
from exporters.trace.tracer import Tracer
from exporters.trace.values import Axis, Value


@dataclass(frozen=True)
class OutputOf:
    """An output of the graph and its ``place`` in what the module returns: keys and numbers, from the outside in.

    ``axes`` are those of the module's own tensor, see `exporters.trace.values`. ``last_step``: the
    module gives it for the last step only, without a time axis.
    """

    spec: OutputSpec
    place: tuple[int | str, ...]
    axes: tuple[Axis, ...]
    last_step: bool = False


def tensors_in(returned: Any, place: tuple[int | str, ...] = ()) -> Iterator[tuple[tuple[int | str, ...], Tensor]]:
    """Every tensor that a module returned, by its place."""
    if isinstance(returned, Tensor):
        yield place, returned
    elif isinstance(returned, Mapping):
        for key, item in returned.items():
            yield from tensors_in(item, (*place, str(key)))
    elif hasattr(returned, "_fields"):
        for key in returned._fields:
            yield from tensors_in(getattr(returned, key), (*place, key))
    elif isinstance(returned, (tuple, list)):
        for number, item in enumerate(returned):
            yield from tensors_in(item, (*place, number))
    elif dataclasses.is_dataclass(returned):
        for item_field in dataclasses.fields(returned):
            yield from tensors_in(getattr(returned, item_field.name), (*place, item_field.name))


def outputs_of(tracer: Tracer, returned: Any) -> list[tuple[OutputOf, Node]]:
    """The outputs that stream, and the sequence of each; what recurrent layers return beside theirs is left out."""
    name = type(tracer.module).__name__
    found: list[tuple[OutputOf, Node]] = []
    beside: list[tuple[OutputOf, Node]] = []
    for place, tensor in tensors_in(returned):
        value = tracer.value(tensor)
        if value is None or value.node.when == ALWAYS:
            continue
        label = _label(place)
        if not any("B" in axis for axis in value.axes):
            raise ExportRefused(f"the output {label!r} of the module {name} has no batch axis; let it keep its own")
        last_step = value.time_axis is None
        note = None
        if last_step:
            if value.node.when != tracer.steps - 1:
                raise ExportRefused(
                    f"the output {label!r} of the module {name} is that of step {value.node.when + 1} of the sequence;"
                    " give every step's, or the last step's"
                )
            note = _remark(tracer, value.node)
            with tracer.at_path(value.node.path):
                node = Family.of(tracer, [value.node]).sequence(tracer)
        else:
            node = value.node
            _check_in_time(tracer, value)
        output = OutputOf(_output_spec(label, value, node, note), place, value.axes, last_step)
        carried = value.node in tracer.states or any(loop.next is node for loop in tracer.loops.values())
        (beside if last_step and carried else found).append((output, node))
    if not found and not beside:
        raise ExportRefused(f"the module {name} returns no tensor that depends on its input; let it return its output")
    chosen = found or beside[:1]
    return [
        (replace(o, spec=_renamed(o.spec, "y")), n) if i == 0 and len(o.place) < 2 and not _named(o.place) else (o, n)
        for i, (o, n) in enumerate(chosen)
    ]


def _named(place: Sequence[int | str]) -> bool:
    return any(isinstance(key, str) for key in place)


def _renamed(spec: OutputSpec, name: str) -> OutputSpec:
    return OutputSpec(name=name, dtype=spec.dtype, shape=spec.shape, axes=spec.axes, note=spec.note)


def _label(place: Sequence[int | str]) -> str:
    """The name of an output: its keys, or ``y`` and its number."""
    text = ".".join(str(key) for key in place)
    return text if _named(place[:1]) else f"y.{text}" if text else "y"


def _check_in_time(tracer: Tracer, value: Value) -> None:
    """Raises `ExportRefused` for an output that needs later steps, or has another number of them."""
    if value.first != 0 or value.steps != tracer.steps:
        raise ExportRefused(ahead(value, tracer))


def _remark(tracer: Tracer, root: Node) -> str:
    """What an output of the last step only is at every step."""
    waiting, seen = [root], set()
    found: set[str] = set()
    while waiting:
        node = waiting.pop()
        if node in tracer.remarks:
            found.add(tracer.remarks[node])
        elif node not in seen:
            seen.add(node)
            waiting += node.args if node.when == root.when and node.kind != "At" else ()
    return f"{' and '.join(sorted(found))} over the steps so far" if found else "last value so far"


def _output_spec(name: str, value: Value, node: Node, note: str | None) -> OutputSpec:
    roles: dict[Axis, str] = {("T",): "time", ("B",): "batch"}
    if note is None and all(axis in roles or len(axis) == 1 for axis in value.axes):
        axes = tuple(roles.get(axis, "feature") for axis in value.axes)
    else:
        axes = ("time", "batch", *["feature"] * len(node.shape))
    sizes = iter(node.shape)
    shape = tuple(role if role in ("time", "batch") else next(sizes) for role in axes)
    return OutputSpec(name=name, dtype=node.dtype, shape=shape, axes=axes, note=note)
