"""A graph run in one layout, in canonical axes whatever its own are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edge_rnn.contract.errors import EngineError
from exporters.foreign.layout import Layout, Roles, Wiring
from exporters.foreign.model import Session


class Trying:
    """Runs a graph in one layout, in canonical axes: inputs ``[time, batch, *row]``, states ``[batch, *row]``."""

    def __init__(self, session: Session, wiring: Wiring, layout: Layout) -> None:
        self.layout = layout
        self._session = session
        self._wiring = wiring

    def inputs(self, steps: int, batch: int, seed: int) -> list[np.ndarray]:
        """Random inputs; whole numbers within what the graph looks up."""
        rng = np.random.default_rng(seed)
        drawn = []
        for spec in self._wiring.streamed:
            row = [role for role in self.layout.inputs[spec.name] if isinstance(role, int)]
            shape = (steps, batch, *row)
            if spec.is_float:
                drawn.append((0.5 * rng.standard_normal(shape)).astype(spec.dtype))
            else:
                low, high = _range(spec.dtype, self._wiring.draw.get(spec.name))
                drawn.append(rng.integers(low, high, shape).astype(spec.dtype))
        return drawn

    def states(self, batch: int, seed: int, scale: float = 0.3) -> list[np.ndarray]:
        """Random states."""
        rng = np.random.default_rng(seed)
        rows = [[r for r in self.layout.states[p.input] if isinstance(r, int)] for p in self._wiring.pairs]
        return [
            (scale * rng.standard_normal((batch, *row))).astype(dtype)
            for row, dtype in zip(rows, self._wiring.dtypes, strict=True)
        ]

    def call(
        self, inputs: Sequence[np.ndarray], states: Sequence[np.ndarray]
    ) -> tuple[dict[str, np.ndarray], list[np.ndarray]]:
        """One call: the outputs in the graph's own axes, the new states. Raises `EngineError`."""
        batch = inputs[0].shape[1]
        feed: dict[str, np.ndarray] = {}
        for spec, value in zip(self._wiring.streamed, inputs, strict=True):
            feed[spec.name] = to_graph(value, self.layout.inputs[spec.name])
        for pair, value in zip(self._wiring.pairs, states, strict=True):
            feed[pair.input] = _state_to_graph(value, self.layout.states[pair.input])
        for name, (value, axis) in self._wiring.constants.items():
            feed[name] = value if axis is None else np.repeat(np.expand_dims(value, axis), batch, axis)
        wanted = [*self._wiring.outputs, *(pair.output for pair in self._wiring.pairs)]
        found = self._session.run(feed, wanted)
        new = []
        for pair in self._wiring.pairs:
            roles, value = self.layout.states[pair.input], found[pair.output]
            expected = tuple(batch if role == "batch" else role for role in roles)
            if value.shape != expected:
                raise EngineError(f"{pair.output!r} has shape {list(value.shape)}, {pair.input!r} {list(expected)}")
            new.append(np.moveaxis(value, roles.index("batch"), 0) if "batch" in roles else value[None])
        return {name: found[name] for name in self._wiring.outputs}, new


def _range(dtype: str, rows: int | None) -> tuple[int, int]:
    """Whole numbers to draw: rows of the table that they look up, samples where they are 8 or 16 bits, else 0 and 1."""
    if rows is not None:
        return 0, rows
    limits = np.iinfo(dtype) if np.dtype(dtype).kind in "iu" else None
    if limits is not None and limits.bits <= 16:
        return int(limits.min) // 4, int(limits.max) // 4
    return 0, 2


def to_graph(value: np.ndarray, roles: Roles) -> np.ndarray:
    """``[time, batch, *row]`` to a tensor's own axes; an axis that it has not is taken away."""
    if "batch" not in roles:
        value = value[:, 0]
        if "time" not in roles:
            return np.ascontiguousarray(value[0])
        return np.ascontiguousarray(np.moveaxis(value, 0, roles.index("time")))
    if "time" not in roles:
        return np.ascontiguousarray(np.moveaxis(value[0], 0, roles.index("batch")))
    return np.ascontiguousarray(np.moveaxis(value, (0, 1), (roles.index("time"), roles.index("batch"))))


def _state_to_graph(value: np.ndarray, roles: Roles) -> np.ndarray:
    if "batch" not in roles:
        return np.ascontiguousarray(value[0])
    return np.ascontiguousarray(np.moveaxis(value, 0, roles.index("batch")))
