"""ONNX Runtime on the CPU, states in main memory or in mapped files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edge_rnn.contract.bundle import Bundle
from edge_rnn.contract.errors import EngineError
from edge_rnn.contract.stepgraph import StepGraph, open_step_graph
from runtime.core.arena import Arena, Rows, in_memory
from runtime.engines.scratch import ScratchFiles
from runtime.engines.tuning import Tuning, measure


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

    def grow(self, capacity: int) -> None:
        """Make room for at least ``capacity`` streams."""
        self._arena.grow(capacity)

    def reset(self, slots: np.ndarray) -> None:
        """Give these slots the states of a stream that has seen nothing."""
        self._arena.reset(slots)

    def run(self, slots: np.ndarray, inputs: Sequence[np.ndarray]) -> tuple[list[np.ndarray], np.ndarray]:
        """Gather, step, scatter; see the protocol. Raises `EngineError`."""
        outputs, states = self.step(inputs, self._arena.gather(slots))
        good = _good(outputs, states, slots.size)
        if good.all():
            self._arena.scatter(slots, states)
        else:
            self._arena.scatter(slots[good], [value[good] for value in states])
        return outputs, good

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
