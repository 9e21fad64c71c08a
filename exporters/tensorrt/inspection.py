"""What a builder made of a step graph, read from what it told while building.

An engine cannot be opened without a GPU; the builder's own report of its layers can be read anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import msgspec

from edge_rnn.contract.errors import EngineError
from edge_rnn.contract.signature import Manifest

LOOP_LAYERS = ("LOOP", "RECURRENCE", "TRIP_LIMIT", "ITERATOR", "LOOP_OUTPUT")
"""Layers of a network that make a loop."""

_LAYER = re.compile(r"^\s*Name: (?P<name>.*?), LayerType: (?P<kind>\w+), Inputs: ")
_TENSOR = re.compile(
    r"^\s*Name: (?P<name>.*?), IOMode: (?P<mode>\w+), DataType: (?P<dtype>\w+), Dimensions: \[(?P<dims>[-\d, ]*)\]"
)
_ORIGIN = re.compile(r"\[ONNX Layer: ([^\]]*)\]")
_TYPES = re.compile(r"Datatype: (\w+)")


class EngineLayer(msgspec.Struct, frozen=True):
    """A layer of the engine: ``operators`` are the nodes of the graph that went into it, ``types`` what it computes with."""

    name: str
    kind: str
    operators: tuple[str, ...]
    types: tuple[str, ...]


class EngineTensor(msgspec.Struct, frozen=True):
    """What goes in or comes out; -1 stands for the number of streams."""

    name: str
    mode: str
    dtype: str
    shape: tuple[int, ...]


class Inspection(msgspec.Struct, frozen=True):
    """An engine: its layers, its tensors, and how often each kind of layer stood in the network that it was built from."""

    layers: tuple[EngineLayer, ...]
    tensors: tuple[EngineTensor, ...]
    network: dict[str, int]

    @property
    def fused(self) -> int:
        """Layers that several nodes of the graph went into."""
        return sum(len(layer.operators) > 1 for layer in self.layers)

    @property
    def loops(self) -> int:
        """Layers of a loop in the network."""
        return sum(count for kind, count in self.network.items() if kind in LOOP_LAYERS)


def read_log(lines: Iterable[str], network: dict[str, int]) -> Inspection:
    """Read what the builder told, at its most talkative. ``network``: how many layers of each kind were given to it."""
    layers: list[EngineLayer] = []
    tensors: list[EngineTensor] = []
    for line in (each for told in lines for each in told.splitlines()):
        if match := _LAYER.match(line):
            operators = tuple(dict.fromkeys(_ORIGIN.findall(line)))
            layers.append(
                EngineLayer(match["name"], match["kind"], operators, tuple(sorted(set(_TYPES.findall(line)))))
            )
        elif match := _TENSOR.match(line):
            dims = tuple(int(dim) for dim in match["dims"].split(",") if dim.strip())
            tensors.append(EngineTensor(match["name"], match["mode"].lower(), match["dtype"], dims))
    return Inspection(tuple(layers), tuple(tensors), network)


def check_inspection(found: Inspection, manifest: Manifest) -> None:
    """Raises `EngineError` where a loop is left, the report cannot be read, or a tensor of the manifest is missing."""
    if found.loops:
        raise EngineError(
            f"the engine of {manifest.name!r} has {found.loops} layers of a loop, expected none; report the model"
        )
    if not found.layers:
        raise EngineError(
            f"the builder told nothing of the layers of {manifest.name!r}; use a version of TensorRT that reports them"
        )
    wanted = {
        "input": {spec.name for spec in manifest.inputs} | {spec.input for spec in manifest.states},
        "output": {spec.name for spec in manifest.outputs} | {spec.output for spec in manifest.states},
    }
    for mode, names in wanted.items():
        there = {tensor.name for tensor in found.tensors if tensor.mode == mode}
        if missing := sorted(names - there):
            raise EngineError(
                f"the engine of {manifest.name!r} has the {mode}s {sorted(there)}, {missing[0]!r} is missing; report the model"
            )


def table(found: Inspection, manifest: Manifest) -> list[str]:
    """The engine as a table for a person: layer, kind, types, what was fused into it; then the states."""
    rows = [["layer", "kind", "types", "from"]]
    rows += [[layer.name, layer.kind, "+".join(layer.types), _listed(layer.operators)] for layer in found.layers]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]]).rstrip()
        for row in rows
    ]
    shapes = {tensor.name: tensor for tensor in found.tensors}
    for spec in manifest.states:
        pair = [shapes[name] for name in (spec.input, spec.output)]
        lines.append("state " + " -> ".join(f"{each.name} {each.dtype}{list(each.shape)}" for each in pair))
    lines.append(f"{len(found.layers)} layers, {found.fused} of several operators, {found.loops} of a loop")
    return lines


def _listed(operators: Sequence[str]) -> str:
    return (
        f"{len(operators)} operators: {operators[0]} ... {operators[-1]}"
        if len(operators) > 2
        else ", ".join(operators)
    )
