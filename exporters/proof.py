"""The proof of a step graph, for export and import alike: the gates, then golden vectors as a device will repeat them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from edge_rnn.contract.errors import GateFailed
from edge_rnn.contract.gates import GATES, check_parity, measure_gates, report_of
from edge_rnn.contract.golden import GOLDEN_STEPS, GOLDEN_STREAMS, Golden
from edge_rnn.contract.signature import GateFigure, GateReport
from edge_rnn.contract.stability import sweep_bits
from edge_rnn.contract.trial import Record, Subject, split_at
from edge_rnn.contract.verification import bit_inputs, cpu_engine

BATCH = 8
"""Streams of the recorded run."""

MARKS = (1, 2, 64, 128, GOLDEN_STEPS)
"""Numbers of steps after which the original's states are recorded."""

LONGEST = 64
"""Steps a call in which the golden vectors are repeated."""

Progress = Callable[[str, GateFigure], None]


def prove_graph(
    subject: Subject,
    inputs: Sequence[np.ndarray],
    expected: Record,
    *,
    tolerance: float,
    progress: Progress | None,
    explain: Callable[[str, bool], str],
) -> tuple[Golden, GateReport]:
    """Run every gate on a graph against the record of its original; golden vectors are the first two streams of it.

    ``explain`` makes the message of a failure, from what the gate said and whether parity, step by
    step, had passed. Raises `GateFailed`.
    """
    golden = Golden([value[:, :GOLDEN_STREAMS] for value in inputs], _first_streams(expected))
    figures: dict[str, GateFigure] = {}
    try:
        for gate, figure in measure_gates(subject, inputs, expected, tolerance=tolerance):
            figures[gate] = figure
            if progress is not None:
                progress(gate, figure)
        chunks = split_at(tuple(expected.states), inputs[0].shape[0], LONGEST if subject.has_time else 1)
        check_parity(subject, golden.inputs, golden.record, chunks, gate="golden vectors", tolerance=tolerance)
    except GateFailed as error:
        raise GateFailed(f"{explain(str(error), GATES[0] in figures)}; nothing was written") from error
    bits = sweep_bits(subject, bit_inputs(golden.inputs), cpu_engine())
    return golden, report_of(figures, bits, tolerance=tolerance)


def _first_streams(record: Record) -> Record:
    return Record(
        [value[:, :GOLDEN_STREAMS] for value in record.outputs],
        {mark: [value[:GOLDEN_STREAMS] for value in values] for mark, values in record.states.items()},
    )
