"""Sequences as ONNX operators, ``[time, batch, *row]``, and the states that they carry from call to call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edge_rnn.contract.errors import ExportRefused
from exporters.emit.kept import EMITTERS
from exporters.emit.loops import components, depending, states_of
from exporters.emit.registry import Emission, Run
from exporters.emit.rows import RowEmitter
from exporters.graph import GraphBuilder
from exporters.trace.nodes import Node
from exporters.trace.tracer import Tracer

LEAD = ("time", "batch")


@dataclass
class StreamEmitter:
    """Writes the nodes of a trace; each once."""

    tracer: Tracer
    emission: Emission
    clock: str
    """A tensor ``[time, batch, *row]``: how many steps and streams a call has."""

    clock_dtype: str = "float32"
    clock_row: tuple[int, ...] = ()

    made: dict[Node, str] = field(default_factory=dict)
    _names: set[str] = field(default_factory=set)
    _groups: dict[Node, tuple[Node, ...]] = field(default_factory=dict)
    _next: dict[Node, Node] = field(default_factory=dict)
    _first: dict[Node, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.graph = self.emission.graph
        self.rows = RowEmitter(self.graph, len(LEAD))
        loops = self.tracer.loops
        for group in components({state: states_of(loop.next, loops) for state, loop in loops.items()}):
            for state in group:
                if set(group) & states_of(loops[state].next, loops):
                    self._groups[state] = group
                    self._next.setdefault(loops[state].next, state)

    def emit(self, root: Node) -> str:
        """The tensor of a node: ``[time, batch, *row]``, or ``[*row]`` of what nothing changes."""
        waiting = [root]
        while waiting:
            node = waiting[-1]
            if node in self.made:
                waiting.pop()
                continue
            if node in self._next and node not in self.made:
                self._emit_group(self._groups[self._next[node]])
                continue
            missing = [] if self._is_constant(node) else [arg for arg in node.args if arg not in self.made]
            if missing and node.kind != "State":
                waiting += missing
                continue
            self.made[waiting.pop()] = self._emit_one(node)
        return self.made[root]

    def _is_constant(self, node: Node) -> bool:
        return node.kind == "Const" or node in self.tracer.rows

    def _emit_one(self, node: Node) -> str:
        hint = node.path or "net"
        if self._is_constant(node):
            array = self.tracer.rows.get(node, node.array)
            assert array is not None
            return self.graph.constant(array.reshape(node.shape), f"{hint}.value")
        if node.kind == "State":
            return self._state_before(node, hint)
        if node.kind in EMITTERS:
            return EMITTERS[node.kind](self, node, hint)
        if node.kind in ("At", "Input"):
            raise ExportRefused(
                f"an output depends on step {node.when + 1} of the sequence only; a stream's later steps would repeat it:"
                " give every step's result, or the last step's"
            )
        return self.rows.emit(node, [self.made[arg] for arg in node.args], hint)

    def state(
        self,
        name: str,
        shape: tuple[int | str, ...],
        dtype: str,
        initial: np.ndarray,
        read: Callable[[Run], Any] | None = None,
    ) -> tuple[str, str]:
        """Declare a state; gives its name and the tensor that comes in. Names that are taken get a number."""
        unique, number = name, 1
        while unique in self._names:
            number += 1
            unique = f"{name}.{number}"
        self._names.add(unique)
        return unique, self.emission.declare(unique, shape, dtype, initial=initial, read=read)

    def _state_before(self, node: Node, hint: str) -> str:
        """What a state was before each step."""
        loop = self.tracer.loops[node]
        if node in self._groups:
            self._emit_group(self._groups[node])
            return self._shifted(self.made[loop.next], self._first[node], hint)
        rows = self._initial(node, loop.initial)
        after = self.emit(loop.next)
        after = self.wide(after, loop.next)
        name, before = self.state(self._name_of(node), (1, "batch", *node.shape), node.dtype, rows[None])
        joined = self.graph.op("Concat", [before, after], hint=hint, axis=0)
        self.emission.next_state(name, self.cut(joined, -1, None, hint))
        return self.cut(joined, 0, -1, hint)

    def wide(self, name: str, node: Node) -> str:
        """A constant for every step and stream."""
        return self.rows.expand(name, self.clock, node.shape, node.path or "net") if self._is_constant(node) else name

    def _shifted(self, after: str, first: str, hint: str) -> str:
        """The values after each step, one step later: before it."""
        axis = self.rows.sizes([0], hint)
        joined = self.graph.op(
            "Concat", [self.graph.op("Unsqueeze", [first, axis], hint=hint), after], hint=hint, axis=0
        )
        return self.cut(joined, 0, -1, hint)

    def prefix(self, node: Node) -> str:
        """What names of states begin with."""
        return node.path or type(self.tracer.module).__name__.lower()

    def _name_of(self, node: Node) -> str:
        held = (self.tracer.names.get(value) for value in self.tracer.chains.get(node, []))
        return next((name for name in held if name is not None), f"{self.prefix(node)}.state")

    def _initial(self, node: Node, initial: Node) -> np.ndarray:
        rows = self.tracer.rows.get(initial, initial.array)
        if rows is None:
            raise ExportRefused(
                f"the first state of {self._name_of(node)!r} depends on the input; start it from a constant or a parameter"
            )
        return np.ascontiguousarray(np.broadcast_to(rows.astype(node.dtype), node.shape))

    def cut(self, name: str, start: int, end: int | None, hint: str) -> str:
        """A stretch of time."""
        stop = np.iinfo(np.int64).max if end is None else end
        given = [self.rows.sizes([n], hint) for n in (start, stop, 0)]
        return self.graph.op("Slice", [name, *given], hint=hint)

    def _emit_group(self, group: tuple[Node, ...]) -> None:
        """States that depend on each other: a Scan over what must be computed step by step."""
        loops, hint = self.tracer.loops, group[0].path or "net"
        inside = depending({loops[state].next for state in group}, set(group))
        feeds: dict[Node, str] = {}
        for node in inside:
            for arg in node.args:
                if arg not in inside and arg not in group:
                    feeds[arg] = self.emit(arg)
        body = GraphBuilder()
        within: dict[Node, str] = {}
        for state in group:
            within[state] = body.input(f"{hint}/before.{len(within)}", state.dtype, ("batch", *state.shape))
        fed = [node for node in feeds if not self._is_constant(node)]
        for node, name in feeds.items():
            if self._is_constant(node):
                within[node] = name
            else:
                within[node] = body.input(f"{hint}/row.{len(within)}", node.dtype, ("batch", *node.shape))
        if not fed:  # a Scan takes its number of steps from what it reads
            body.input(f"{hint}/clock", self.clock_dtype, ("batch", *self.clock_row))
        rows = RowEmitter(body, 1)
        for node in sorted(inside, key=lambda node: node.serial):
            within[node] = rows.emit(node, [within[arg] for arg in node.args], f"{node.path or 'net'}/step")
        for kind in ("after", "each"):
            for number, state in enumerate(group):
                body.output(f"{hint}/{kind}.{number}", within[loops[state].next], state.dtype, ("batch", *state.shape))
        names, firsts = [], []
        for state in group:
            initial = self._initial(state, loops[state].initial)
            name, before = self.state(self._name_of(state), ("batch", *state.shape), state.dtype, initial)
            names.append(name)
            firsts.append(before)
        outputs = self.graph.ops(
            "Scan",
            [*firsts, *(feeds[node] for node in fed), *([] if fed else [self.clock])],
            outputs=[f"{kind}{n}" for kind in ("after", "each") for n in range(len(group))],
            hint=hint,
            body=body.body(f"{hint}.step"),
            num_scan_inputs=max(1, len(fed)),
        )
        for number, (state, name) in enumerate(zip(group, names, strict=True)):
            self.emission.next_state(name, outputs[number])
            self.made[loops[state].next] = outputs[len(group) + number]
            self._first[state] = firsts[number]
