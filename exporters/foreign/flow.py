"""Who feeds whom in a graph, through the bodies of If, Loop and Scan too.

A tensor's *place* is its name and the scope that it stands in: names are unique within a scope and
those around it, not between two branches.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx
from onnx import AttributeProto, GraphProto, NodeProto

RECURRENT = {"LSTM": ("h", "c"), "GRU": ("h",), "RNN": ("h",)}
"""Recurrent operators and what of their state each has: first values are inputs 5 (h) and 6 (c)."""

FIRST_INITIAL = 5

_ONE_IN = {"Identity", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Slice", "Split", "Gather", "Cast", "Expand"}
_ONE_IN |= {"Flatten", "Dropout"}
_SIZES = {"Shape", "Size"}

Port = tuple[int, str, str]
"""A state of a recurrent operator: the operator's scope, its name for messages, ``h`` or ``c``; ``y``: all its h."""


@dataclass(frozen=True)
class Place:
    """A tensor: the number of its scope (0: the main graph) and its name."""

    scope: int
    name: str


class Flow:
    """The nodes of all scopes, and the way of values among them."""

    def __init__(self, graph: GraphProto) -> None:
        self.nodes: list[tuple[int, NodeProto]] = []
        self._parent: list[int] = []
        self._defined: list[dict[str, NodeProto | None]] = []
        self._bodies: dict[int, list[int]] = {}
        self._graphs: list[GraphProto] = []
        self._inputs = {value.name for value in graph.input} - {tensor.name for tensor in graph.initializer}
        self._ends: dict[int, frozenset[str]] = {}
        self._enter(graph, -1)

    def _enter(self, graph: GraphProto, parent: int) -> int:
        scope = len(self._graphs)
        self._graphs.append(graph)
        self._parent.append(parent)
        defined: dict[str, NodeProto | None] = dict.fromkeys([v.name for v in graph.input], None)
        defined |= dict.fromkeys([t.name for t in graph.initializer], None)
        self._defined.append(defined)
        for node in graph.node:
            self.nodes.append((scope, node))
            defined |= dict.fromkeys([name for name in node.output if name], node)
            for body in bodies(node):
                self._bodies.setdefault(id(node), []).append(self._enter(body, scope))
        return scope

    def find(self, scope: int, name: str) -> tuple[Place, NodeProto | None]:
        """Where a name that is used in a scope is defined, and the node that makes it (``None``: input or weight)."""
        at = scope
        while at >= 0:
            if name in self._defined[at]:
                return Place(at, name), self._defined[at][name]
            at = self._parent[at]
        return Place(0, name), None

    def fed_by(self, scope: int, name: str) -> frozenset[str]:
        """The graph inputs whose values (not only their sizes) this tensor depends on."""
        found: set[str] = set()
        seen: set[Place] = set()
        waiting = [(scope, name)]
        while waiting:
            at, wanted = waiting.pop()
            place, node = self.find(at, wanted)
            if place in seen:
                continue
            seen.add(place)
            if node is None:
                if place.scope == 0 and place.name in self._inputs:
                    found.add(place.name)
                continue
            if node.op_type not in _SIZES:
                waiting += [(place.scope, each) for each in node.input if each]
            for body in self._bodies.get(id(node), ()):
                waiting += [(body, out.name) for out in self._graphs[body].output]
        return frozenset(found)

    def origins(self, scope: int, name: str) -> set[Port | str]:
        """What a tensor is when only layout changes: graph inputs (by name) and states of recurrent operators."""
        found: set[Port | str] = set()
        seen: set[Place] = set()
        waiting = [(scope, name)]
        while waiting:
            at, wanted = waiting.pop()
            place, node = self.find(at, wanted)
            if place in seen:
                continue
            seen.add(place)
            if node is None:
                if place.scope == 0 and place.name in self._inputs:
                    found.add(place.name)
            elif node.op_type in RECURRENT:
                index = list(node.output).index(place.name)
                found.add((place.scope, node_name(node), "yhc"[index]))
            elif node.op_type == "Concat":
                waiting += [(place.scope, each) for each in node.input]
            elif node.op_type == "If":
                index = list(node.output).index(place.name)
                for body in self._bodies[id(node)]:
                    waiting.append((body, self._graphs[body].output[index].name))
            elif node.op_type in _ONE_IN:
                waiting.append((place.scope, node.input[0]))
        return found

    def made_by(self, output: str) -> set[str]:
        """The operators that made a graph output, layout and means of one value aside."""
        found: set[str] = set()
        waiting = [(0, output)]
        for _ in range(len(self.nodes)):
            if not waiting:
                break
            place, node = self.find(*waiting.pop())
            if node is None:
                continue
            if node.op_type == "If":
                index = list(node.output).index(place.name)
                waiting += [(body, self._graphs[body].output[index].name) for body in self._bodies[id(node)]]
            elif node.op_type in _ONE_IN or node.op_type == "ReduceMean":
                waiting.append((place.scope, node.input[0]))
            else:
                found.add(node.op_type)
        return found

    def vocabulary(self) -> dict[str, int]:
        """For each graph input that a table is looked up by, the number of the table's rows."""
        rows = {tensor.name: tensor.dims[0] for graph in self._graphs for tensor in graph.initializer if tensor.dims}
        found: dict[str, int] = {}
        for scope, node in self.nodes:
            if node.op_type == "Gather" and node.input[0] in rows and not attribute_of(node, "axis", 0):
                for origin in self.origins(scope, node.input[1]):
                    if isinstance(origin, str):
                        found[origin] = min(int(rows[node.input[0]]), found.get(origin, 2**31))
        return found

    def ports_into(self) -> dict[str, set[Port]]:
        """For each graph input the recurrent states whose first value it is."""
        found: dict[str, set[Port]] = {}
        for scope, node in self.nodes:
            for number, kind in enumerate(RECURRENT.get(node.op_type, ())):
                if len(node.input) > FIRST_INITIAL + number and node.input[FIRST_INITIAL + number]:
                    for origin in self.origins(scope, node.input[FIRST_INITIAL + number]):
                        if isinstance(origin, str):
                            found.setdefault(origin, set()).add((scope, node_name(node), kind))
        return found

    def ports_out(self, output: str) -> set[Port]:
        """The recurrent states that a graph output is."""
        return {origin for origin in self.origins(0, output) if not isinstance(origin, str)}


def bodies(node: NodeProto) -> Iterator[GraphProto]:
    """The subgraphs of a node."""
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            yield attribute.g
        yield from attribute.graphs


def node_name(node: NodeProto) -> str:
    """A node for messages: its name, or its first output's where it has none."""
    return str(node.name or next((name for name in node.output if name), node.op_type))


def attribute_of(node: NodeProto, name: str, default: object) -> object:
    """The value of an attribute, ``default`` where it is absent."""
    for attribute in node.attribute:
        if attribute.name == name:
            value = onnx.helper.get_attribute_value(attribute)
            return value.decode() if isinstance(value, bytes) else value
    return default
