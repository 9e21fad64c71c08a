"""ONNX Runtime on the CPU, states in main memory or in mapped files."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from edge_rnn.contract.bundle import Bundle
from edge_rnn.contract.errors import EngineError
from edge_rnn.contract.stepgraph import StepGraph, open_step_graph
from runtime.core.arena import Arena, Rows, in_memory
from runtime.engines.scratch import ScratchFiles
from runtime.engines.tuning import Tuning, measure

LEAST_PART = 256
"""Fewer steps are not worth a thread of their own."""


class _Stepped(NamedTuple):
    part: slice
    outputs: list[np.ndarray]
    states: list[np.ndarray]
    good: np.ndarray


class CpuEngine:
    """The step graph on ONNX Runtime's CPU provider; see `runtime.engines.protocol.Engine`."""

    def __init__(
        self,
        step: StepGraph,
        first: Sequence[np.ndarray],
        rows: Rows = in_memory,
        tuning: Tuning = Tuning(),  # noqa: B008 (it does not change)
    ) -> None:
        """``first``: one stream's first value of each state, ``[*row]``; ``rows``: where the states are kept."""
        self.manifest = step.manifest
        self.step = step
        self.tuning = tuning
        self._arena = Arena(step.manifest.states, first, rows=rows)
        self._pool = ThreadPoolExecutor(tuning.threads, "edge-rnn-call") if tuning.threads > 1 else None

    def grow(self, capacity: int) -> None:
        """Make room for at least ``capacity`` streams."""
        self._arena.grow(capacity)

    def reset(self, slots: np.ndarray) -> None:
        """Give these slots the states of a stream that has seen nothing."""
        self._arena.reset(slots)

    def run(self, slots: np.ndarray, inputs: Sequence[np.ndarray]) -> tuple[list[np.ndarray], np.ndarray]:
        """Gather, step, scatter; see the protocol. In calls of the tuning's size, on its threads. Raises `EngineError`."""
        parts = self._parts(inputs[0].shape[0], slots.size)

        def step(part: slice) -> _Stepped:
            outputs, states = self.step([value[:, part] for value in inputs], self._arena.gather(slots[part]))
            return _Stepped(part, outputs, states, _good(outputs, states, slots[part].size))

        done = list(map(step, parts) if self._pool is None or len(parts) == 1 else self._pool.map(step, parts))
        for part, _, states, good in done:
            mine = slots[part]
            if good.all():
                self._arena.scatter(mine, states)
            else:
                self._arena.scatter(mine[good], [value[good] for value in states])
        if len(done) == 1:
            return done[0].outputs, done[0].good
        outputs = [np.concatenate(pieces, axis=1) for pieces in zip(*(each.outputs for each in done), strict=True)]
        return outputs, np.concatenate([each.good for each in done])

    def _parts(self, steps: int, streams: int) -> list[slice]:
        """Slices of the streams, of about equal size: no more steps a call than the tuning's, but a call for each thread
        where that leaves it `LEAST_PART` steps."""
        most = max(1, self.tuning.streams // steps)
        n = -(-streams // most)
        if n < self.tuning.threads:
            n = max(n, min(self.tuning.threads, streams, streams * steps // LEAST_PART))
        bounds = np.linspace(0, streams, n + 1).astype(int).tolist()
        return [slice(begin, end) for begin, end in pairwise(bounds)]

    def works(self) -> bool:
        """Whether one step of zeros from the first states succeeds."""
        zeros = [np.zeros((1, 1, *spec.row_shape), spec.dtype) for spec in self.manifest.inputs]
        try:
            self.step(zeros, self._arena.first())
        except EngineError:
            return False
        return True

    def read(self, slots: np.ndarray) -> np.ndarray:
        """States as bytes: uint8[n, state_bytes]."""
        return self._arena.read(slots)

    def write(self, slots: np.ndarray, rows: np.ndarray) -> None:
        """The inverse of `read`."""
        self._arena.write(slots, rows)


def open_cpu_engine(
    bundle: Bundle, *, tuned: bool = False, threads: int | None = None, folder: Path | None = None
) -> CpuEngine:
    """Open a bundle on the CPU; its states are kept in files of ``folder``, if given.

    ``tuned``: measure first which calls are best here; ``threads``: how many at once, instead of measuring that. Raises
    `EngineError`, `MissingDependency`, `UsageError` for a folder that does not do.
    """
    first = [bundle.initial_state(spec) for spec in bundle.manifest.states]
    rows = in_memory if folder is None else ScratchFiles(folder)
    step = open_step_graph(bundle)
    tuning = measure(step, bundle.manifest, first, threads=threads) if tuned else Tuning(threads=threads or 1)
    return CpuEngine(step, first, rows, tuning)


def _good(outputs: Sequence[np.ndarray], states: Sequence[np.ndarray], streams: int) -> np.ndarray:
    """Whether all that a stream has now is finite: bool[streams]."""
    good = np.ones(streams, bool)
    if not (_all_finite(outputs) and _all_finite(states)):
        for value in outputs:
            good &= _finite_by(value, axis=1)
        for value in states:
            good &= _finite_by(value, axis=0)
    return good


def _all_finite(arrays: Sequence[np.ndarray]) -> bool:
    """Quick and safe: a sum is finite only if no entry is NaN or infinite (it may overflow for finite ones)."""
    with np.errstate(over="ignore", invalid="ignore"):
        return all(array.dtype.kind != "f" or bool(np.isfinite(np.add.reduce(array, axis=None))) for array in arrays)


def _finite_by(value: np.ndarray, axis: int) -> np.ndarray:
    """Per entry of ``axis``, whether all is finite: bool[value.shape[axis]]."""
    if value.dtype.kind != "f":
        return np.ones(value.shape[axis], bool)
    others = tuple(index for index in range(value.ndim) if index != axis)
    return np.asarray(np.isfinite(value).all(axis=others))
