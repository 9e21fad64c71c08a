"""The steps of a loop, found to be one step repeated.

A loop over time leaves one node a step: the roots. The last root is taken for the *template*: what it
needs of its own step is computed there, what it needs of earlier steps is *carried*. For each node
that is carried, the node that stands in its place one step later is found; then the template is laid
over every earlier step, down to the first, where the carried nodes must be constants: the first
states. Every step must fit exactly, or there is no export.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from exporters.trace.nodes import ALWAYS, SEQUENCE, Node

if TYPE_CHECKING:
    from exporters.trace.tracer import Tracer

LAYOUT = ("Reshape", "Transpose", "Cast")
"""What is not worth carrying: it is made again from what it was made of."""

COMMUTATIVE = ("Add", "Mul", "Max", "Min", "And", "Or")

Carried = dict[Node, Node]
"""For each carried node of the template, the node that stands there at another step."""


@dataclass(frozen=True)
class Loop:
    """A state: what it becomes at each step, ``next``, and its ``initial`` value."""

    next: Node
    initial: Node


@dataclass
class Family:
    """The roots of one loop by their steps."""

    roots: dict[int, Node]
    following: Carried = field(default_factory=dict)
    values: dict[int, Carried] = field(default_factory=dict)

    @classmethod
    def of(cls, tracer: Tracer, roots: Sequence[Node]) -> Family:
        """A family of roots, the last of which is the template. Raises `ExportRefused` when steps differ."""
        family = cls({root.when: root for root in roots})
        family._close(tracer)
        family._descend(tracer)
        return family

    @property
    def last(self) -> int:
        """The step of the template."""
        return max(self.roots)

    def sequence(self, tracer: Tracer) -> Node:
        """The roots as one sequence; its states are added to the trace's loops."""
        states = {node: self._state(tracer, node) for node in self.following}
        lifted: dict[Node, Node] = {}
        for node, state in states.items():
            first = self.values[0].get(node) if 0 in self.values else None
            if first is None:
                first = tracer.table.const(np.zeros(node.shape, node.dtype))
            tracer.loops[state] = Loop(_lift(tracer, self.following[node], states, lifted), first)
        return _lift(tracer, self.roots[self.last], states, lifted)

    def _close(self, tracer: Tracer) -> None:
        """Find every carried node of the template and what follows it.

        What was computed at an earlier step and has no counterpart one step later is computed again
        from what has one: the last step of a loop computes nothing for a step that never comes.
        """
        waiting, seen = [self.roots[self.last]], set()
        while waiting:
            node = waiting.pop()
            if node in seen or node.when == ALWAYS:
                continue
            seen.add(node)
            if node.when == self.last:
                waiting += () if node.kind == "At" else node.args
                continue
            following = None if node.kind in LAYOUT else _following(tracer, node)
            if following is not None:
                self.following[node] = following
                waiting.append(following)
            elif node.args and node.kind != "At":
                waiting += node.args
            else:
                raise tracer.refuse(
                    f"carries a value of step {node.when + 1} to step {self.last + 1} of its loop over time that has no"
                    f" counterpart one step later{_whose(node)}: the steps are not alike; {_remedy(tracer)}"
                )

    def _descend(self, tracer: Tracer) -> None:
        """Lay the template over every earlier step."""
        self.values[self.last] = {node: node for node in self.following}
        for step in range(self.last - 1, -1, -1):
            found: Carried = {}
            pairs = [(self.roots[self.last], self.roots[step])] if step in self.roots else []
            above = self.values[step + 1]
            pairs += [(self.following[node], above[node]) for node in self.following if node in above]
            for template, actual in pairs:
                wrong = self._lay(template, actual, step, found)
                if wrong is not None:
                    raise tracer.refuse(
                        f"does at step {step + 1} of its loop over time what it does not at step {self.last + 1}"
                        f" ({_told(wrong[1])} in place of {_told(wrong[0])}); every step must be alike; {_remedy(tracer)}"
                    )
            self.values[step] = found

    def _lay(self, template: Node, actual: Node, step: int, found: Carried) -> tuple[Node, Node] | None:
        """Compare a part of the template with a part of ``step``; the pair that differs, or ``None``."""
        waiting = [(template, actual)]
        seen: set[tuple[Node, Node]] = set()
        while waiting:
            pair = waiting.pop()
            if pair in seen:
                continue
            seen.add(pair)
            one, other = pair
            if one in self.following:
                if found.setdefault(one, other) is not other or not _earlier(one, other, self.last - step):
                    return one, other
            elif one.when == ALWAYS:
                if one is not other:
                    return one, other
            elif one.kind == "At":
                if other.kind != "At" or one.args != other.args or other.when != step:
                    return one, other
            elif step == 0 and other.kind == "Const" and not self._reads(one):
                continue  # computed from first states before the trace saw them: zeros, and the gates decide
            elif not _alike(one, other):
                return one, other
            else:
                waiting += _pairs(one, other, self.last - step)
        return None

    def _reads(self, root: Node) -> bool:
        """Whether a part of the template reads a sequence at its own step."""
        waiting, seen = [root], set()
        while waiting:
            node = waiting.pop()
            if node in seen or node in self.following:
                continue
            seen.add(node)
            if node.kind == "At":
                return True
            waiting += node.args
        return False

    def _state(self, tracer: Tracer, node: Node) -> Node:
        """The state that carries ``node``: the same for every family that carries the same values."""
        chain = [(step, self.values[step][node]) for step in sorted(self.values) if node in self.values[step]]
        step, origin = next((item for item in chain if item[1].when != ALWAYS), (self.last, node))
        key = (origin.serial, step)
        state = tracer.table.make(
            "State", shape=node.shape, dtype=node.dtype, when=SEQUENCE, key=key, initial=chain[0][1].serial
        )
        tracer.chains.setdefault(state, [self.following[node], *(value for _, value in chain[::-1])])
        return state


def _following(tracer: Tracer, node: Node) -> Node | None:
    """The node that stands in the place of ``node`` one step later."""
    if node.kind == "At":
        return tracer.table.at(node.args[0], node.when + 1) if node.when + 1 < tracer.steps else None
    fitting = [
        candidate
        for candidate in tracer.table.by_step.get(node.when + 1, [])
        if _alike(candidate, node) and _fits(candidate, node)
    ]
    if len(fitting) > 1:  # one that goes on further, where several begin alike
        fitting = [candidate for candidate in fitting if _fits(candidate, node, further=3)] or fitting
    return fitting[0] if fitting else None


def _fits(one: Node, other: Node, further: int = 0) -> bool:
    """Whether ``one`` computes of its step what ``other`` does of the step before."""
    waiting, seen, borders = [(one, other)], set(), []
    while waiting:
        pair = waiting.pop()
        if pair in seen:
            continue
        seen.add(pair)
        a, b = pair
        if a.when == ALWAYS:
            if a is not b:
                return False
        elif a.when < one.when:
            if not _earlier(a, b, 1):
                return False
            if b.when != ALWAYS:
                borders.append(pair)
        elif a.kind == "At":
            if b.kind != "At" or a.args != b.args or b.when != a.when - 1:
                return False
        elif not _alike(a, b):
            if other.when > 0 or b.kind != "Const":
                return False
        else:
            waiting += _pairs(a, b, 1)
    return further == 0 or all(_fits(a, b, further - 1) for a, b in borders)


def _pairs(one: Node, other: Node, steps: int) -> list[tuple[Node, Node]]:
    """Operands that stand for each other; those of a sum or product in the order in which they fit better.

    The first step of a loop may add a plain number where the others add what was carried: Python
    then has the operands in another order.
    """
    direct = list(zip(one.args, other.args, strict=True))
    if one.kind not in COMMUTATIVE or len(direct) != 2:
        return direct
    swapped = list(zip(one.args, other.args[::-1], strict=True))

    def fit(pairs: list[tuple[Node, Node]]) -> int:
        return sum(
            4 * (a is b and a.when == ALWAYS) + 2 * (a.when - b.when == steps and b.when >= 0) + (a.kind == b.kind)
            for a, b in pairs
        )

    return swapped if fit(swapped) > fit(direct) else direct


def _alike(one: Node, other: Node) -> bool:
    return (one.kind, one.attrs, one.shape, one.dtype, len(one.args)) == (
        other.kind,
        other.attrs,
        other.shape,
        other.dtype,
        len(other.args),
    )


def _earlier(one: Node, other: Node, steps: int) -> bool:
    return other.when == ALWAYS or other.when == one.when - steps


def _lift(tracer: Tracer, root: Node, states: Carried, lifted: Carried) -> Node:
    """A part of the template as sequences."""
    waiting = [root]
    while waiting:
        node = waiting[-1]
        if node in lifted:
            waiting.pop()
        elif node in states:
            lifted[waiting.pop()] = states[node]
        elif node.when == ALWAYS:
            lifted[waiting.pop()] = node
        elif node.kind == "At":
            lifted[waiting.pop()] = node.args[0]
        elif all(arg in lifted for arg in node.args):
            waiting.pop()
            with tracer.at_path(node.path):
                lifted[node] = tracer.table.make(
                    node.kind,
                    [lifted[arg] for arg in node.args],
                    shape=node.shape,
                    dtype=node.dtype,
                    **dict(node.attrs),
                )
        else:
            waiting += [arg for arg in node.args if arg not in lifted]
    return lifted[root]


def _whose(node: Node) -> str:
    return f" (from {node.path!r})" if node.path else ""


def _told(node: Node) -> str:
    if node.kind == "Const":
        assert node.array is not None
        return f"the constant {node.array.flat[0]:.6g}" if node.array.size == 1 else f"a constant {list(node.shape)}"
    return f"a step of {node.args[0].kind}" if node.kind == "At" else node.kind


def _remedy(tracer: Tracer) -> str:
    from exporters.trace.registry import step_to_write

    return f"write it without decisions on the step's number, or give the module {step_to_write(tracer.module)}"
