"""Which states depend on which: those that reach each other are computed together, step by step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from exporters.trace.nodes import Node


def states_of(root: Node, loops: Mapping[Node, Any]) -> set[Node]:
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


def depending(roots: set[Node], states: set[Node]) -> set[Node]:
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


def components(edges: Mapping[Node, set[Node]]) -> list[tuple[Node, ...]]:
    """States that reach each other, in groups; a state that reaches only others is a group of its own."""
    reach = {state: set(found) for state, found in edges.items()}
    for middle, further in reach.items():
        for found in reach.values():
            if middle in found:
                found |= further
    groups: list[tuple[Node, ...]] = []
    done: set[Node] = set()
    for state, found in reach.items():
        if state not in done:
            group = tuple(other for other in reach if other is state or (other in found and state in reach[other]))
            done |= set(group)
            groups.append(group)
    return groups
