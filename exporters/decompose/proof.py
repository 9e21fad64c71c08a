"""The graphs of all chunk sizes run as one step function on the CPU, and held to the gates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edge_rnn.contract.bundle import Bundle
from edge_rnn.contract.gates import check_parity
from edge_rnn.contract.golden import load_golden
from edge_rnn.contract.plans import binary_chunks
from edge_rnn.contract.signature import GateFigure
from edge_rnn.contract.stepgraph import Arrays, StepGraph, open_step_graph
from edge_rnn.contract.trial import run_chunks
from edge_rnn.contract.verification import check_golden, subject_of, tolerance_of
from exporters.decompose.chunk import ChunkGraph

NATIVE = "native operators"


class ChunkedStep:
    """Graphs of fixed chunks behind one step function (see `edge_rnn.contract.stepgraph.Step`) for any number of steps."""

    def __init__(self, bundle: Bundle, graphs: Sequence[ChunkGraph]) -> None:
        """``graphs`` holds the chunks 1, 2, 4, ... without a gap. Raises `EngineError`."""
        constants = bundle.constants()
        self._steps = {
            each.chunk: StepGraph(
                each.manifest,
                each.graph,
                constants={spec.name: constants[spec.name] for spec in each.manifest.constants},
            )
            for each in graphs
        }

    def __call__(self, inputs: Sequence[np.ndarray], states: Sequence[np.ndarray], /) -> tuple[Arrays, Arrays]:
        """Run one call as binary chunks, smallest first."""
        parts: list[Arrays] = []
        now, start = list(states), 0
        for size in binary_chunks(inputs[0].shape[0], max(self._steps)):
            outputs, now = self._steps[size]([value[start : start + size] for value in inputs], now)
            parts.append(outputs)
            start += size
        return [np.concatenate(values) for values in zip(*parts, strict=True)], now


def prove_chunks(bundle: Bundle, graphs: Sequence[ChunkGraph]) -> dict[str, GateFigure]:
    """Hold the graphs to the golden vectors, and each of them to the bundle's own graph with its native operators.

    ``graphs`` as in `ChunkedStep`. Returns the figure of each gate. Raises `GateFailed`.
    """
    step, tolerance = ChunkedStep(bundle, graphs), tolerance_of(bundle)
    subject, golden = subject_of(bundle, step), load_golden(bundle)
    steps = golden.inputs[0].shape[0]
    largest = max(each.chunk for each in graphs)
    native = run_chunks(subject_of(bundle, open_step_graph(bundle)), golden.inputs, [1] * steps)
    figures: dict[str, GateFigure] = {}
    for size in sorted(each.chunk for each in graphs):
        chunks = [size] * (steps // size) + [1] * (steps % size)
        gate = f"{NATIVE}, chunks of {size}"
        figures[gate] = check_parity(subject, golden.inputs, native, chunks, gate=gate, tolerance=tolerance)
    figures["golden vectors"] = check_golden(bundle, step, longest_chunk=largest)
    return figures
