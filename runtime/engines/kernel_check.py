"""Kernels that move rows, held to plain statements on this device, for a model's own states and outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edge_rnn.contract.errors import EngineError
from edge_rnn.contract.signature import Manifest
from runtime.core.moves import Made, Moves, PlainMoves, row_bytes

ROWS, SCRATCH, HALTED, SPOILT = 9, 8, 7, 1
"""Rows of an arena, the one that is nobody's, one that is halted, and the stream of a call that is not finite."""

INDEX = np.array([3, 0, HALTED, 5, 1, SCRATCH, SCRATCH])
STEPS = 2


def check_moves(moves: Moves, manifest: Manifest, xp: Any) -> None:
    """Take, settle, pack and unpack what a call of this model has, each value in turn not finite in one stream.

    ``xp``: the array module of ``moves``. Raises `EngineError` where a bit is another than by plain statements.
    """
    check, rng = _Check(moves, manifest, xp), np.random.default_rng(0)
    arrays = [rng.integers(-9, 9, (ROWS, *state.row_shape)).astype(state.dtype) for state in manifest.states]
    check.rows(arrays)
    outputs = []
    for spec in manifest.outputs:
        steps = 1 if spec.time_axis is None else STEPS
        outputs.append(rng.integers(-9, 9, (steps, INDEX.size, *spec.row_shape)).astype(spec.dtype))
    states = [rng.integers(-9, 9, (INDEX.size, *state.row_shape)).astype(state.dtype) for state in manifest.states]
    for number, streams in enumerate([*(value[-1] for value in outputs), *states]):
        kept = streams[SPOILT].copy()
        if streams.dtype.kind == "f":
            streams[SPOILT].reshape(-1)[-1:] = np.nan if number % 2 else -np.inf
        check.settled(arrays, outputs, states)
        streams[SPOILT] = kept


class _Check:
    def __init__(self, moves: Moves, manifest: Manifest, xp: Any) -> None:
        self._ways: tuple[tuple[Moves, Any], ...] = ((moves, xp), (PlainMoves(np), np))
        self._manifest = manifest
        self._to_host = getattr(xp, "asnumpy", np.array)

    def rows(self, arrays: Sequence[np.ndarray]) -> None:
        """Take, pack, and unpack elsewhere."""
        axes = [state.batch_axis for state in self._manifest.states]
        width, found = sum(row_bytes(array) for array in arrays), []
        for moves, xp in self._ways:
            there, packed = [xp.array(array) for array in arrays], xp.zeros((INDEX.size, width), np.uint8)
            taken = moves.take(there, xp.asarray(INDEX), axes)
            moves.pack(there, xp.asarray(INDEX), packed)
            moves.unpack(packed, there, xp.asarray(INDEX[::-1].copy()))
            found.append([*taken, packed, *(array[:SCRATCH] for array in there)])
        self._same("take", *found)

    def settled(
        self, arrays: Sequence[np.ndarray], outputs: Sequence[np.ndarray], states: Sequence[np.ndarray]
    ) -> None:
        """Settle one call, its values laid out as the graph lays them out."""
        found: list[list[Any]] = []
        for moves, xp in self._ways:
            there, rooms = (
                [xp.array(array) for array in arrays],
                [xp.zeros(value.shape, value.dtype) for value in outputs],
            )
            halted, good = xp.asarray(np.arange(ROWS) == HALTED), xp.zeros(INDEX.size, bool)
            gave = [
                _as_in_graph(xp, value[0], (spec.batch_axis,))[None]
                if spec.time_axis is None
                else _as_in_graph(xp, value, (spec.time_axis, spec.batch_axis))
                for value, spec in zip(outputs, self._manifest.outputs, strict=True)
            ]
            new = [
                _as_in_graph(xp, value, (state.batch_axis,))
                for value, state in zip(states, self._manifest.states, strict=True)
            ]
            moves.settle(Made(gave, rooms, new, there), xp.asarray(INDEX), halted, SCRATCH, good)
            kept = [array[:SCRATCH] for array in (*there, halted)]
            found.append([*rooms, *kept, good[: int((INDEX != SCRATCH).sum())]])
        self._same("settle", *found)

    def _same(self, what: str, found: Sequence[Any], expected: Sequence[Any]) -> None:
        for mine, theirs in zip(found, expected, strict=True):
            if self._to_host(mine).tobytes() != theirs.tobytes():
                raise EngineError(f"kernels that move rows do not {what} them as plain statements do")


def _as_in_graph(xp: Any, value: np.ndarray, axes: tuple[int, ...]) -> Any:
    """``value`` on the device, its first axes lying where ``axes`` says."""
    first = tuple(range(len(axes)))
    return xp.moveaxis(xp.asarray(np.ascontiguousarray(np.moveaxis(value, first, axes))), axes, first)
