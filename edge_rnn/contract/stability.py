"""Bit stability: whether results keep every bit over batch sizes and chunkings, on one engine and device.

Not a gate: where it does not hold, recovered states are right within the tolerance only.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edge_rnn.contract.signature import BitStability
from edge_rnn.contract.trial import Record, Subject, run_chunks, split_at

BATCHES = (1, 2, 3, 5, 7, 8, 13, 16, 17, 31, 33)
"""Sizes that fall on and beside what vector units and threads divide by."""

CHUNKS = (1, 2, 3, 5, 7, 8, 16, 17)
STEPS = 34


def sweep_bits(subject: Subject, inputs: Sequence[np.ndarray], engine: str) -> BitStability:
    """Compare every batch size and chunking with single streams in single steps, bit by bit.

    ``inputs``: ``[time, batch, *row]`` of at least `STEPS` steps and the largest of `BATCHES`
    streams. ``engine`` names engine, version and device for the manifest.
    """
    inputs = [value[:STEPS] for value in inputs]
    alone = _join([run_chunks(subject, _streams(inputs, i, i + 1), [1] * STEPS) for i in range(max(BATCHES))])
    chunks = CHUNKS if subject.has_time else (1,)
    holds, worst = True, 0.0
    for batch in BATCHES:
        expected = [value[:, :batch] for value in alone.outputs] + [value[:batch] for value in alone.states[STEPS]]
        for chunk in chunks:
            found = run_chunks(subject, _streams(inputs, 0, batch), split_at([], STEPS, chunk))
            for value, reference in zip([*found.outputs, *found.states[STEPS]], expected, strict=True):
                if value.tobytes() != reference.tobytes():
                    holds = False
                    with np.errstate(all="ignore"):
                        off = np.abs(value.astype(np.float64) - reference.astype(np.float64))
                    worst = max(worst, float(np.nan_to_num(off).max()))
    return BitStability(engine=engine, holds=holds, batches=BATCHES, chunks=chunks, max_abs_error=worst)


def _streams(inputs: Sequence[np.ndarray], start: int, end: int) -> list[np.ndarray]:
    return [value[:, start:end] for value in inputs]


def _join(records: Sequence[Record]) -> Record:
    """One record of all streams from one record each; states after the last step only."""
    outputs = [np.concatenate(parts, axis=1) for parts in zip(*(record.outputs for record in records), strict=True)]
    last = [record.states[STEPS] for record in records]
    return Record(outputs, {STEPS: [np.concatenate(parts) for parts in zip(*last, strict=True)]})
