"""Which output is the next value of which input: given, or proposed from ports, names and shapes.

A proposal is never assumed: `exporters.foreign.roles` runs it, the gates prove it. Where evidence
leaves several, all are returned and tried.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from edge_rnn.contract.errors import ExportRefused, UsageError
from exporters.foreign.flow import Flow, Port
from exporters.foreign.model import Declared, ForeignModel

MOST_PROPOSALS = 24

_WAY = {
    "in",
    "out",
    "input",
    "output",
    "new",
    "next",
    "n",
    "prev",
    "past",
    "present",
    "init",
    "initial",
    "last",
    "final",
}
_WAY |= {"updated", "cur", "current", "i", "o", "t", "1"}
_STATE = {
    "state",
    "states",
    "h",
    "c",
    "hx",
    "cx",
    "hidden",
    "cell",
    "cache",
    "caches",
    "mem",
    "memory",
    "past",
    "carry",
}
_STATE |= {"buffer", "prev", "lstm", "gru", "rnn", "context", "ctx", "conv"}


@dataclass(frozen=True)
class Pair:
    """A state: the graph's input, the output that is its next value, and why they belong together."""

    input: str
    output: str
    why: str


def propose_pairs(
    model: ForeignModel, flow: Flow, given: Mapping[str, str], bound: Sequence[str]
) -> Iterator[tuple[Pair, ...]]:
    """Sets of state pairs, the most likely first. ``given`` maps inputs to outputs, ``bound`` are constants.

    Raises `UsageError` for names that are not there, `ExportRefused` where given pairs cannot be right.
    """
    taken = list(given.values())
    if twice := sorted({output for output in taken if taken.count(output) > 1}):
        raise UsageError(f"--state gives the output {twice[0]!r} twice; each state has an output of its own")
    sure = [Pair(*_checked(model, flow, name, output), why="given") for name, output in given.items()]
    inputs = [spec for name, spec in model.inputs.items() if name not in given and name not in bound]
    outputs = [spec for name, spec in model.outputs.items() if name not in taken]
    into = flow.ports_into()
    fits: dict[str, list[tuple[int, Pair]]] = {}
    for spec in inputs:
        found = [_evidence(spec, out, into.get(spec.name, set()), flow) for out in outputs]
        likely = sorted((each for each in found if each is not None), key=lambda each: -each[0])
        if (likely and likely[0][0] > 1) or (likely and _is_state(spec.name)):
            fits[spec.name] = likely
    yield from _choices(sure, fits)


def fits_by_shape(model: ForeignModel, flow: Flow, spec: Declared, outputs: Sequence[str]) -> list[str]:
    """The outputs that could be the next value of an input: its type and shape, and fed by it."""
    found = [_evidence(spec, model.outputs[name], set(), flow) for name in outputs]
    return [each[1].output for each in found if each is not None]


def _choices(sure: list[Pair], fits: Mapping[str, list[tuple[int, Pair]]]) -> Iterator[tuple[Pair, ...]]:
    """Every way to give each state an output of its own, the strongest evidence first."""
    ways: list[tuple[int, tuple[Pair, ...]]] = []
    options = [likely[:4] for likely in fits.values()]
    for chosen in itertools.islice(itertools.product(*options), 20000):
        if len({pair.output for _, pair in chosen}) == len(chosen):
            ways.append((sum(score for score, _ in chosen), tuple(pair for _, pair in chosen)))
    ways.sort(key=lambda way: -way[0])
    ways = [way for way in ways if way[0] == ways[0][0]][:MOST_PROPOSALS]
    for _, pairs in ways or [(0, ())]:
        yield (*sure, *pairs)


def _checked(model: ForeignModel, flow: Flow, name: str, output: str) -> tuple[str, str]:
    """A given pair, unless its names, types, shapes or the graph itself contradict it."""
    for what, wanted, there in (("input", name, model.inputs), ("output", output, model.outputs)):
        if wanted not in there:
            raise UsageError(
                f"--state {name}={output}: {model.name} has no {what} {wanted!r}; its {what}s are {', '.join(there)}"
            )
    spec, out = model.inputs[name], model.outputs[output]
    if spec.dtype != out.dtype or not _same_shape(spec, out):
        raise ExportRefused(
            f"--state {name}={output}: {spec} cannot take what {out} gives; give the output of its shape"
        )
    into, outof = flow.ports_into().get(name, set()), flow.ports_out(output)
    if into and outof and not into & _with_sequences(outof):
        (_, node, kind), (_, other, other_kind) = min(into), min(outof)
        right = [o for o in model.outputs if flow.ports_out(o) & into]
        remedy = f"give --state {name}={right[0]}" if right else "give the output that follows from it"
        raise ExportRefused(
            f"--state {name}={output} is swapped: {name!r} is the first {kind} of node {node!r}, {output!r} the last"
            f" {other_kind} of {'the same' if other == node else repr(other)}; {remedy}"
        )
    return name, output


def _evidence(spec: Declared, out: Declared, into: set[Port], flow: Flow) -> tuple[int, Pair] | None:
    """How much speaks for a pair, or ``None`` where it cannot be."""
    if spec.dtype != out.dtype or not spec.is_float or not _same_shape(spec, out):
        return None
    if spec.name not in flow.fed_by(0, out.name) and not into:
        return None
    outof = flow.ports_out(out.name)
    if into and outof:
        shared = into & _with_sequences(outof)
        if not shared:
            return None
        kinds = " and ".join(sorted({kind for _, _, kind in shared}, reverse=True))
        return 8 if into & outof else 6, Pair(
            spec.name, out.name, f"{kinds} of node {min(node for _, node, _ in shared)}"
        )
    score = _likeness(spec.name, out.name)
    if score and (_is_state(spec.name) or score == 4):
        return 1 + score, Pair(spec.name, out.name, "by name and shape")
    return 1, Pair(spec.name, out.name, "by shape and data flow")


def _with_sequences(ports: set[Port]) -> set[Port]:
    """The h of all steps is also the last h where a call is one step."""
    return ports | {(scope, node, "h") for scope, node, kind in ports if kind == "y"}


def _same_shape(spec: Declared, out: Declared) -> bool:
    """Whether the sizes agree where both are fixed."""
    return len(spec.dims) == len(out.dims) and all(
        a == b for a, b in zip(spec.dims, out.dims, strict=True) if a is not None and b is not None
    )


def _likeness(name: str, output: str) -> int:
    """4 for names alike but for their way (``h_in``, ``h_out``), 2 where numbers differ too (``h0``, ``hn``), else 0."""
    exact = [_words(each, numbers=True) for each in (name, output)]
    if exact[0] and exact[0] == exact[1]:
        return 4
    loose = [_words(each, numbers=False) for each in (name, output)]
    numbers = [re.findall(r"\d+", each) for each in (name, output)]
    return 2 if loose[0] and loose[0] == loose[1] and not (numbers[0] and numbers[1]) else 0


def _is_state(name: str) -> bool:
    return bool(set(_words(name, numbers=False)) & _STATE)


def _words(name: str, *, numbers: bool) -> list[str]:
    """A name's parts without those that only say which way it goes."""
    words = [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+|\d+", name)]
    words = [word[:-1] if word in ("hn", "cn", "hs", "cs") else word for word in words]
    return [word for word in words if word not in _WAY and (numbers or not word.isdigit())]
