"""A bundle's proof run again from the bundle alone: golden vectors, isolation, chunking, bit stability.

Nothing here needs torch or onnx. `verify_bundle` does all of it; `check_golden` only repeats the
recorded run, which is what a daemon does at start and a device before it takes traffic.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator

import numpy as np

from edge_rnn.contract.bundle import Bundle
from edge_rnn.contract.gates import SEED, TOLERANCE, check_parity, measure_gates, report_of
from edge_rnn.contract.golden import load_golden
from edge_rnn.contract.ort import import_onnxruntime
from edge_rnn.contract.signature import BitStability, GateFigure, GateReport
from edge_rnn.contract.stability import BATCHES, STEPS, sweep_bits
from edge_rnn.contract.stepgraph import Arrays, Step, open_step_graph
from edge_rnn.contract.trial import Subject, draw_inputs, split_at


def check_golden(bundle: Bundle, step: Step, *, tolerance: float | None = None, longest_chunk: int = 64) -> GateFigure:
    """Repeat the recorded run on any step function and compare outputs and states.

    ``tolerance`` is the allowed error per unit of the largest absolute value (see
    `edge_rnn.contract.gates`), by default what the export allowed: give an engine of lower
    precision a larger one. Calls take up to
    ``longest_chunk`` steps of two streams. Raises `GateFailed`, or `BundleError` when the recorded
    run cannot be read.
    """
    golden = load_golden(bundle)
    subject = subject_of(bundle, step)
    tolerance = tolerance_of(bundle) if tolerance is None else tolerance
    longest = longest_chunk if subject.has_time else 1
    chunks = split_at(tuple(golden.record.states), golden.inputs[0].shape[0], longest)
    return check_parity(subject, golden.inputs, golden.record, chunks, gate="golden vectors", tolerance=tolerance)


def verify_bundle(bundle: Bundle, step: Step | None = None, *, tolerance: float | None = None) -> GateReport:
    """Run every gate on the bundle's step graph, or on another ``step`` function for it.

    Raises `GateFailed` naming output or state, step and distance; `BundleError` or `EngineError`
    when the bundle cannot be read or run.
    """
    step = open_step_graph(bundle) if step is None else step
    tolerance = tolerance_of(bundle) if tolerance is None else tolerance
    figures = dict(measure_bundle(bundle, step, tolerance=tolerance))
    return report_of(figures, measure_bits(bundle, step), tolerance=tolerance)


def measure_bundle(bundle: Bundle, step: Step, *, tolerance: float | None = None) -> Iterator[tuple[str, GateFigure]]:
    """Run the gates one after the other; yields name and figure of each as it passes, see `measure_gates`."""
    golden = load_golden(bundle)
    tolerance = tolerance_of(bundle) if tolerance is None else tolerance
    yield from measure_gates(subject_of(bundle, step), golden.inputs, golden.record, tolerance=tolerance)


def measure_bits(bundle: Bundle, step: Step, *, engine: str | None = None) -> BitStability:
    """Sweep bit stability over odd batch sizes and chunks; ``engine`` defaults to ONNX Runtime on this CPU."""
    inputs = bit_inputs(load_golden(bundle).inputs)
    return sweep_bits(subject_of(bundle, step), inputs, engine or cpu_engine())


def tolerance_of(bundle: Bundle) -> float:
    """What the export allowed: 1e-6 in fp32 unless it was told otherwise."""
    gates = bundle.manifest.gates
    return TOLERANCE if gates is None else gates.tolerance


def bit_inputs(samples: Arrays) -> Arrays:
    """Inputs of the bit sweep, drawn from the recorded ones: the same in every verification."""
    return draw_inputs(samples, STEPS, max(BATCHES), np.random.default_rng(SEED))


def cpu_engine() -> str:
    """Name, version and device of the engine that `open_step_graph` uses."""
    return f"onnxruntime {import_onnxruntime().__version__} CPU {platform.machine()}"


def subject_of(bundle: Bundle, step: Step) -> Subject:
    """The bundle's step function as the gates examine it."""
    states = bundle.manifest.states
    return Subject.of(bundle.manifest, step, [bundle.initial_state(spec) for spec in states])
