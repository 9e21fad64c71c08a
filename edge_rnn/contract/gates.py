"""The gates: measurements that a step function must pass before it is trusted with streams.

Pure functions over a `Step`: no engine, file or clock. The exporters run them before a bundle is
written, ``verify`` and the runtime run them again from the bundle.

==================  ==========================================================================
parity              step by step, the outputs and states are those of the recorded module
isolation           a stream's results are the same alone and in a batch with loud neighbours
chunking            any split along time gives the results of single steps
parity in chunks    in chunks, too, the outputs and states are those of the recorded module
==================  ==========================================================================

An error is allowed up to ``tolerance * max(1, largest absolute value)`` of the tensor compared;
the tolerance is `TOLERANCE` in fp32. Numbers of steps in messages count from 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from edge_rnn.contract.errors import GateFailed
from edge_rnn.contract.signature import BitStability, GateFigure, GateReport
from edge_rnn.contract.trial import Record, Subject, draw_inputs, run_chunks, split_at, split_at_random

TOLERANCE = 1e-6
"""Allowed error per unit of the largest absolute value in fp32."""

GATES = ("parity", "isolation", "chunking", "parity in chunks")
"""The gates in the order in which `measure_gates` runs them."""

LOUDNESS = 50.0
"""How much louder than the stream that is watched its neighbours are in the isolation gate."""

RANDOM_SPLITS = 4
SEED = 20240229


def check_parity(
    subject: Subject,
    inputs: Sequence[np.ndarray],
    expected: Record,
    chunks: Sequence[int],
    *,
    gate: str = "parity",
    tolerance: float = TOLERANCE,
) -> GateFigure:
    """Compare a run in ``chunks`` with the recorded one. Raises `GateFailed` naming tensor, step and distance."""
    found = run_chunks(subject, inputs, chunks)
    return compare(subject, found, expected, gate=gate, advice=_PARITY, tolerance=tolerance)


def check_isolation(
    subject: Subject, inputs: Sequence[np.ndarray], *, tolerance: float = TOLERANCE, seed: int = SEED
) -> GateFigure:
    """Compare each stream alone with the same stream among neighbours `LOUDNESS` times louder.

    Raises `GateFailed`. Loud integer inputs are just other inputs. Neighbours may overflow: only
    the stream that is watched must stay finite.
    """
    steps, batch = inputs[0].shape[:2]
    chunks = split_at_random(np.random.default_rng(seed), steps) if subject.has_time else [1] * steps
    figures = []
    for stream in range(batch):
        alone = run_chunks(subject, [value[:, stream : stream + 1] for value in inputs], chunks)
        crowd = [_make_loud(value, except_for=stream) for value in inputs]
        found = run_chunks(subject, crowd, chunks).stream(stream)
        figures.append(
            compare(subject, found, alone, gate="isolation", advice=_ISOLATION, tolerance=tolerance, stream=stream)
        )
    worst = worst_figure(figures)
    return GateFigure(max_abs_error=worst.max_abs_error, bound=worst.bound, steps=steps, batch=batch)


def check_chunking(
    subject: Subject, inputs: Sequence[np.ndarray], *, tolerance: float = TOLERANCE, seed: int = SEED
) -> GateFigure:
    """Compare single steps with one call for all, chunks of 7, and random splits. Raises `GateFailed`."""
    steps = inputs[0].shape[0]
    single = run_chunks(subject, inputs, [1] * steps)
    splits = [[1] * steps]
    if subject.has_time:
        rng = np.random.default_rng(seed + 1)
        splits = [[steps], split_at([], steps, 7), *(split_at_random(rng, steps) for _ in range(RANDOM_SPLITS))]
    return worst_figure(
        [
            compare(
                subject,
                run_chunks(subject, inputs, chunks),
                single,
                gate="chunking",
                advice=_CHUNKING,
                tolerance=tolerance,
            )
            for chunks in splits
        ]
    )


def measure_gates(
    subject: Subject, inputs: Sequence[np.ndarray], expected: Record, *, tolerance: float = TOLERANCE
) -> Iterator[tuple[str, GateFigure]]:
    """Run all `GATES` in order and yield each one's name and figure as it passes.

    ``inputs`` and ``expected`` are what the module took and gave, run over the whole sequence.
    Single steps come first, so that a wrong graph fails parity and only one whose results depend
    on the neighbours or the split fails the gate of that name. Raises `GateFailed`.
    """
    steps = inputs[0].shape[0]
    rng = np.random.default_rng(SEED)
    yield GATES[0], check_parity(subject, inputs, expected, [1] * steps, tolerance=tolerance)
    drawn = draw_inputs(inputs, steps, 8, rng)
    yield GATES[1], check_isolation(subject, drawn, tolerance=tolerance)
    yield GATES[2], check_chunking(subject, drawn, tolerance=tolerance)
    chunks = split_at(tuple(expected.states), steps, 48 if subject.has_time else 1)
    yield GATES[3], check_parity(subject, inputs, expected, chunks, gate=GATES[3], tolerance=tolerance)


def report_of(figures: Mapping[str, GateFigure], bits: BitStability, *, tolerance: float = TOLERANCE) -> GateReport:
    """The manifest's report of all `GATES`: parity is the worse of the runs in single steps and in chunks."""
    return GateReport(
        parity=worst_figure([figures[GATES[0]], figures[GATES[3]]]),
        isolation=figures[GATES[1]],
        chunking=figures[GATES[2]],
        bit_stability=bits,
        tolerance=tolerance,
    )


def worst_figure(figures: Sequence[GateFigure]) -> GateFigure:
    """The figure that came closest to its bound."""
    return max(figures, key=lambda figure: figure.max_abs_error / figure.bound)


def compare(
    subject: Subject,
    found: Record,
    expected: Record,
    *,
    gate: str,
    advice: str,
    tolerance: float = TOLERANCE,
    stream: int = 0,
) -> GateFigure:
    """Compare two records, states where both have them, and return the figure of the tensor closest to its bound.

    ``stream`` is added to the number of the stream in messages. Raises `GateFailed` naming the
    tensor that is first beyond its bound or not finite, the step, the stream and the distance.
    """
    steps, batch = expected.outputs[0].shape[:2]
    marks = sorted(found.states.keys() & expected.states.keys())
    all_steps = np.arange(1, steps + 1)
    pairs = [
        (f"output {name!r} at", value, reference, all_steps)
        for name, value, reference in zip(subject.outputs, found.outputs, expected.outputs, strict=True)
    ]
    for index, name in enumerate(subject.states if marks else ()):
        after = [np.stack([record.states[mark][index] for mark in marks]) for record in (found, expected)]
        pairs.append((f"state {name!r} after", after[0], after[1], np.asarray(marks)))
    figures: list[GateFigure] = []
    failures: list[tuple[int, int, str, int, float, float]] = []
    for what, value, reference, numbers in pairs:
        if value.shape != reference.shape:
            raise GateFailed(
                f"{gate}: {what.rsplit(' ', 1)[0]} has shape {list(value.shape)},"
                f" expected {list(reference.shape)}; {advice}"
            )
        error, bound = _distance(value, reference, tolerance)
        figures.append(GateFigure(max_abs_error=float(error.max(initial=0)), bound=bound, steps=steps, batch=batch))
        bad = np.argwhere(~(error <= bound))
        if len(bad):
            row, column = (int(i) for i in bad[0])
            failures.append((int(numbers[row]), len(failures), what, column + stream, float(error[row, column]), bound))
    if failures:
        step, _, what, column, distance, bound = min(failures)
        off = f"off by {distance:.3g}, allowed {bound:.3g}" if np.isfinite(distance) else "not finite"
        raise GateFailed(f"{gate}: {what} step {step} of {steps} (stream {column}) is {off}; {advice}")
    return worst_figure(figures)


_PARITY = "the step graph does not compute what its module computed: export it again, or report the module"
_ISOLATION = "a stream's results must not depend on its neighbours: look for an operation over the batch axis"
_CHUNKING = "results must not depend on how time is split: look for an operation over the time axis"


def _distance(value: np.ndarray, reference: np.ndarray, tolerance: float) -> tuple[np.ndarray, float]:
    """Largest absolute difference ``float64[time, batch]``, infinite where not finite; and the bound."""
    found, expected = (x.reshape(*x.shape[:2], -1).astype(np.float64) for x in (value, reference))
    finite = np.isfinite(found) & np.isfinite(expected)
    with np.errstate(invalid="ignore", over="ignore"):
        difference = np.where(finite, np.abs(found - expected), np.inf)
    largest = np.abs(expected, where=np.isfinite(expected), out=np.zeros_like(expected)).max(initial=1.0)
    return difference.max(axis=2, initial=0.0), float(tolerance * largest)


def _make_loud(value: np.ndarray, *, except_for: int) -> np.ndarray:
    if not np.issubdtype(value.dtype, np.floating):
        return value
    loud: np.ndarray = value * np.asarray(LOUDNESS, value.dtype)
    loud[:, except_for] = value[:, except_for]
    return loud
