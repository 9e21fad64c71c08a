"""Sequences as ONNX operators, ``[time, batch, *row]``, and the states that they carry from call to call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edge_rnn.contract.errors import ExportRefused
from exporters.emit.registry import Emission, Run
from exporters.emit.rows import RowEmitter
from exporters.graph import Attribute, GraphBuilder
from exporters.trace.nodes import ALWAYS, Node
from exporters.trace.tracer import Tracer

LEAD = ("time", "batch")


class NeedsSteps(ExportRefused):
    """A layer taken whole does not give what is needed of its single steps."""


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
        for group in _components({state: _states_of(loop.next, loops) for state, loop in loops.items()}):
            for state in group:
                if set(group) & _states_of(loops[state].next, loops):
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
        special: dict[str, Callable[[Node, str], str]] = {
            "State": self._state_before,
            "Delay": self._delay,
            "History": self._history,
            "Window": self._window,
            "Recurrent": self._recurrent,
            "Running": self._running,
            "Index": self._index,
            "Cell": self._cell,
        }
        if node.kind in special:
            return special[node.kind](node, hint)
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
        after = self._wide(after, loop.next)
        name, before = self.state(self._name_of(node), (1, "batch", *node.shape), node.dtype, rows[None])
        joined = self.graph.op("Concat", [before, after], hint=hint, axis=0)
        self.emission.next_state(name, self._cut(joined, -1, None, hint))
        return self._cut(joined, 0, -1, hint)

    def _wide(self, name: str, node: Node) -> str:
        """A constant for every step and stream."""
        return self.rows.expand(name, self.clock, node.shape, node.path or "net") if self._is_constant(node) else name

    def _shifted(self, after: str, first: str, hint: str) -> str:
        """The values after each step, one step later: before it."""
        axis = self.rows.sizes([0], hint)
        joined = self.graph.op(
            "Concat", [self.graph.op("Unsqueeze", [first, axis], hint=hint), after], hint=hint, axis=0
        )
        return self._cut(joined, 0, -1, hint)

    def _prefix(self, node: Node) -> str:
        return node.path or type(self.tracer.module).__name__.lower()

    def _name_of(self, node: Node) -> str:
        held = (self.tracer.names.get(value) for value in self.tracer.chains.get(node, []))
        return next((name for name in held if name is not None), f"{self._prefix(node)}.state")

    def _initial(self, node: Node, initial: Node) -> np.ndarray:
        rows = self.tracer.rows.get(initial, initial.array)
        if rows is None:
            raise ExportRefused(
                f"the first state of {self._name_of(node)!r} depends on the input; start it from a constant or a parameter"
            )
        return np.ascontiguousarray(np.broadcast_to(rows.astype(node.dtype), node.shape))

    def _cut(self, name: str, start: int, end: int | None, hint: str) -> str:
        """A stretch of time."""
        stop = np.iinfo(np.int64).max if end is None else end
        given = [self.rows.sizes([n], hint) for n in (start, stop, 0)]
        return self.graph.op("Slice", [name, *given], hint=hint)

    def _emit_group(self, group: tuple[Node, ...]) -> None:
        """States that depend on each other: a Scan over what must be computed step by step."""
        loops, hint = self.tracer.loops, group[0].path or "net"
        inside = _depending({loops[state].next for state in group}, set(group))
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
        for node in feeds:
            if self._is_constant(node):
                within[node] = feeds[node]
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

    def _buffer(self, node: Node, steps: int, what: str, hint: str) -> str:
        """The rows of the ``steps`` steps before the call, and those of the call."""
        past = node.args[-1].array
        assert past is not None
        source = node.args[0]
        rows = self._wide(self.made[source], source)
        if steps == 0:
            return rows
        name, before = self.state(
            f"{self._prefix(node)}.{what}",
            (steps, "batch", *source.shape),
            source.dtype,
            past.reshape(steps, *source.shape),
        )
        joined = self.graph.op("Concat", [before, rows], hint=hint, axis=0)
        self.emission.next_state(name, self._cut(joined, -steps, None, hint))
        return joined

    def _delay(self, node: Node, hint: str) -> str:
        steps = node.attr("steps")
        return self._cut(self._buffer(node, steps, "past", hint), 0, -steps, hint)

    def _history(self, node: Node, hint: str) -> str:
        steps = node.attr("steps")
        rows = self._buffer(node, steps, "past", hint)
        parts = [self._cut(rows, i, i - steps if i < steps else None, hint) for i in range(steps + 1)]
        axis = self.rows.sizes([len(LEAD)], hint)
        return self.graph.op(
            "Concat", [self.graph.op("Unsqueeze", [part, axis], hint=hint) for part in parts], hint=hint, axis=len(LEAD)
        )

    def _window(self, node: Node, hint: str) -> str:
        """A convolution over time: ``[time, batch, channels, ...]`` to ``[batch, channels, ..., time, ...]`` and back."""
        rank, timed = node.attr("rank"), node.attr("timed")
        rows = self._buffer(node, node.attr("reach"), "past", hint)
        there = [1, 2, *(3 + i for i in range(rank - 1))]
        there.insert(2 + timed, 0)
        x = self.graph.op("Transpose", [rows], hint=hint, perm=there)
        y = self.graph.op(
            "Conv",
            [x, *(self.made[arg] for arg in node.args[1:-1])],
            hint=hint,
            group=node.attr("group"),
            strides=node.attr("strides"),
            dilations=node.attr("dilations"),
            pads=list(node.attr("pads")) * 2,
        )
        return self.graph.op("Transpose", [y], hint=hint, perm=[int(n) for n in np.argsort(there)])

    def _recurrent(self, node: Node, hint: str) -> str:
        """torch's LSTM or GRU as ONNX's operator of the same name; torch's GRU resets after the recurrent product."""
        prefix, kind = self.tracer.names[node], node.attr("of")
        kinds = ("h", "c") if kind == "LSTM" else ("h",)
        recurrence = self.tracer.recurrences[node]
        declared = []
        for which, (what, first) in enumerate(zip(kinds, node.args[4:], strict=True)):
            assert first.array is not None

            def read(run: Run, which: int = which) -> Any:
                return run.calls[recurrence.call][1 + which][recurrence.layer : recurrence.layer + 1]

            declared.append(self.state(f"{prefix}.{what}", (1, "batch", *node.shape), "float32", first.array, read))
        attributes: dict[str, Attribute] = {"hidden_size": node.shape[0]}
        if kind == "GRU":
            attributes["linear_before_reset"] = 1
        rows = self._wide(self.made[node.args[0]], node.args[0])
        y, *new = self.graph.ops(
            kind,
            [rows, *(self.made[arg] for arg in node.args[1:4]), "", *(before for _, before in declared)],
            outputs=("y", *kinds),
            hint=hint,
            **attributes,
        )
        for (name, _), value in zip(declared, new, strict=True):
            self.emission.next_state(name, value)
        return self.graph.op("Squeeze", [y, self.rows.sizes([1], hint)], hint=hint)

    def _cell(self, node: Node, hint: str) -> str:
        raise NeedsSteps(f"the cell state of {node.path!r} is used beyond its last step")

    def _running(self, node: Node, hint: str) -> str:
        """A sum (in double precision, so that it lasts), the largest or the smallest so far."""
        source, kind = node.args[0], node.attr("of")
        rows = self._wide(self.made[source], source)
        if kind == "sum":
            wide = "float64" if source.dtype.startswith("float") else source.dtype
            name, before = self.state(
                f"{self._prefix(node)}.sum", (1, "batch", *node.shape), wide, np.zeros((1, *node.shape), wide)
            )
            rows = self.rows.emit(_typed(wide), [rows], hint) if wide != source.dtype else rows
            axis = self.graph.constant(np.asarray(0, np.int64), f"{hint}.axis")
            total = self.graph.op("Add", [self.graph.op("CumSum", [rows, axis], hint=hint), before], hint=hint)
            self.emission.next_state(name, self._cut(total, -1, None, hint))
            return self.rows.emit(_typed(source.dtype), [total], hint) if wide != source.dtype else total
        info = np.finfo(node.dtype) if node.dtype.startswith("float") else np.iinfo(node.dtype)
        first = np.full(node.shape, info.min if kind == "amax" else info.max, node.dtype)
        what = "largest" if kind == "amax" else "smallest"
        name, before = self.state(f"{self._prefix(node)}.{what}", ("batch", *node.shape), node.dtype, first)
        body = GraphBuilder()
        given = [body.input(f"{hint}/{role}", node.dtype, ("batch", *node.shape)) for role in ("so_far", "row")]
        new = body.op("Max" if kind == "amax" else "Min", given, hint=hint)
        for role in ("after", "each"):
            body.output(f"{hint}/{role}", new, node.dtype, ("batch", *node.shape))
        after, each = self.graph.ops(
            "Scan",
            [before, rows],
            outputs=("after", "each"),
            hint=hint,
            body=body.body(f"{hint}.{what}"),
            num_scan_inputs=1,
        )
        self.emission.next_state(name, after)
        return each

    def _index(self, node: Node, hint: str) -> str:
        """The number of each step, counted from 0."""
        name, before = self.state("step", (1, "batch"), "int64", np.zeros((1,), np.int64))
        one = self.graph.constant(np.asarray(1, np.int64), f"{hint}.one")
        ones = self.graph.op("Expand", [one, self.rows.leading(self.clock, hint)], hint=hint)
        axis = self.graph.constant(np.asarray(0, np.int64), f"{hint}.axis")
        total = self.graph.op("Add", [self.graph.op("CumSum", [ones, axis], hint=hint), before], hint=hint)
        self.emission.next_state(name, self._cut(total, -1, None, hint))
        return self.graph.op("Sub", [total, one], hint=hint)


def _typed(dtype: str) -> Node:
    return Node("Cast", (), (), (), dtype, ALWAYS, "", 0)


def _states_of(root: Node, loops: Mapping[Node, Any]) -> set[Node]:
    """The states that a node depends on, through whatever lies between."""
    found, waiting, seen = set(), [root], set()
    while waiting:
        node = waiting.pop()
        if node not in seen:
            seen.add(node)
            waiting += node.args
            if node in loops:
                found.add(node)
    return found


def _depending(roots: set[Node], states: set[Node]) -> set[Node]:
    """The nodes between states and roots that depend on one of the states."""
    order: list[Node] = []
    seen: set[Node] = set()
    waiting = list(roots)
    while waiting:
        node = waiting[-1]
        if node in seen:
            waiting.pop()
            continue
        missing = [arg for arg in node.args if arg not in seen]
        if missing:
            waiting += missing
            continue
        seen.add(node)
        order.append(waiting.pop())
    depending: set[Node] = set()
    for node in order:
        if any(arg in states or arg in depending for arg in node.args):
            depending.add(node)
    return depending


def _components(edges: Mapping[Node, set[Node]]) -> list[tuple[Node, ...]]:
    """States that reach each other, in groups; a state that reaches only others is a group of its own."""
    reach = {state: set(found) for state, found in edges.items()}
    for middle in reach:
        for found in reach.values():
            if middle in found:
                found |= reach[middle]
    groups: list[tuple[Node, ...]] = []
    done: set[Node] = set()
    for state in reach:
        if state not in done:
            group = tuple(
                other for other in reach if other is state or (other in reach[state] and state in reach[other])
            )
            done |= set(group)
            groups.append(group)
    return groups
