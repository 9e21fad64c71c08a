"""Which axis of which tensor is time, batch or feature: found by running the graph, never by its names.

A layout is right when streams in a batch give what they give alone, and several steps in one call
what they give one by one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from edge_rnn.contract.errors import EngineError
from exporters.foreign.layout import Layout, Role, Roles, Wiring, describe, layouts
from exporters.foreign.model import ForeignModel, Session
from exporters.foreign.trying import Trying

STREAMS, STEPS = 3, 5
CLOSE = 2e-3
"""Differences per unit of the largest value that rounding can make in a few steps; a wrong role makes larger ones."""


def find_layout(
    model: ForeignModel, session: Session, wiring: Wiring, given: Mapping[str, Roles], width: int | None
) -> tuple[Layout | None, dict[str, str]]:
    """The first layout that runs as streams do, with its outputs' roles; else ``None`` and, by layout, why not."""
    reasons: dict[str, str] = {}
    for layout in layouts(model, wiring, given, width):
        try:
            outputs = _output_roles(Trying(session, wiring, layout), given)
            return replace(layout, outputs=outputs), {}
        except (EngineError, Wrong) as error:
            reasons[describe(layout)] = str(error)
    return None, reasons


class Wrong(Exception):
    """A layout that does not run as streams do."""


def _output_roles(trying: Trying, given: Mapping[str, Roles]) -> dict[str, Roles]:
    """Check a layout by running it, and read the outputs' roles off their shapes."""
    one, timed = trying.layout.one_stream, trying.layout.has_time
    batch, steps = (1 if one else STREAMS), (STEPS if timed else 1)
    inputs, states = trying.inputs(steps, batch, 1), trying.states(batch, 2)
    whole, last = trying.call(inputs, states)
    sizes = [(steps, batch, whole)]
    if timed:
        sizes.append((steps + 2, batch, trying.call(trying.inputs(steps + 2, batch, 3), states)[0]))
    if not one:
        sizes.append(
            (steps, batch + 1, trying.call(trying.inputs(steps, batch + 1, 3), trying.states(batch + 1, 4))[0])
        )
    roles = {
        name: given.get(name) or _read_roles(name, [(t, b, v[name].shape) for t, b, v in sizes], one=one)
        for name in whole
    }
    if not one:
        for stream in range(batch):
            alone, state = trying.call(
                [v[:, stream : stream + 1] for v in inputs], [v[stream : stream + 1] for v in states]
            )
            _compare("the batch", alone, {n: _stream(v, roles[n], stream) for n, v in whole.items()})
            _compare_states("the batch", state, [v[stream : stream + 1] for v in last])
    if timed:
        state = states
        for step in range(steps):
            single, state = trying.call([value[step : step + 1] for value in inputs], state)
            for name, value in whole.items():
                if "time" in roles[name]:
                    _compare("time", {name: single[name]}, {name: _step(value, roles[name], step)})
        _compare("time", {n: v for n, v in single.items() if "time" not in roles[n]}, whole)
        _compare_states("time", state, last)
    return roles


def _read_roles(name: str, shapes: Sequence[tuple[int, int, tuple[int, ...]]], *, one: bool) -> Roles:
    """Roles of an output's axes, from its shapes for several numbers of steps and streams."""
    rank = len(shapes[0][2])
    if any(len(shape) != rank for _, _, shape in shapes):
        raise Wrong(f"the output {name!r} has another number of axes for another number of steps or streams")
    times, batches = [t for t, _, _ in shapes], [b for _, b, _ in shapes]
    roles: list[Role] = []
    for axis in range(rank):
        found = [shape[axis] for _, _, shape in shapes]
        if len(set(found)) == 1:
            roles.append(found[0])
        elif found in (times, batches):
            roles.append("time" if found == times else "batch")
        else:
            raise Wrong(f"the output {name!r} has {found} on axis {axis}, which is neither the steps nor the streams")
    if not one and "batch" not in roles:
        raise Wrong(f"the output {name!r} has no batch axis")
    if one and 1 in roles and "batch" not in roles:
        roles[roles.index(1)] = "batch"
    if roles.count("time") > 1 or roles.count("batch") > 1:
        raise Wrong(f"the output {name!r} has the roles {roles}")
    return tuple(roles)


def _compare(what: str, found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> None:
    for name, value in found.items():
        if not _is_close(value, expected[name]):
            raise Wrong(f"the output {name!r} depends on how {what} is cut")


def _compare_states(what: str, found: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> None:
    for value, reference in zip(found, expected, strict=True):
        if not _is_close(value, reference):
            raise Wrong(f"a state depends on how {what} is cut")


def _is_close(value: np.ndarray, reference: np.ndarray) -> bool:
    if value.shape != reference.shape:
        return False
    difference = np.abs(value.astype(np.float64) - reference.astype(np.float64)).max(initial=0)
    return bool(difference <= CLOSE * max(1e-3, float(np.abs(reference.astype(np.float64)).max(initial=0))))


def _stream(value: np.ndarray, roles: Roles, stream: int) -> np.ndarray:
    return np.take(value, [stream], axis=roles.index("batch"))


def _step(value: np.ndarray, roles: Roles, step: int) -> np.ndarray:
    return np.take(value, [step], axis=roles.index("time"))
