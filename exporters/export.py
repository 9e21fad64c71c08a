"""The export: a module in, a verified bundle out, or nothing.

1. copy      the module, in inference mode, in fp32, on the CPU
2. lift      its forward becomes a step graph; onnx checks it
3. record    the module itself runs 256 steps of 8 streams
4. gates     the graph must give the same: alone, in a batch, however time is split
5. golden    two of the streams are kept, and must pass as they will on the device
6. write     the bundle, whole or not at all
"""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np
import torch
from torch import nn

from edge_rnn.contract.bundle import GOLDEN, GRAPH, Bundle, write_bundle
from edge_rnn.contract.errors import ExportRefused, GateFailed, UsageError
from edge_rnn.contract.gates import GATES, SEED, TOLERANCE, check_parity, measure_gates, report_of
from edge_rnn.contract.golden import GOLDEN_STEPS, GOLDEN_STREAMS, Golden, encode_golden
from edge_rnn.contract.signature import FORMAT, GateFigure, GateReport, InputSpec, Manifest
from edge_rnn.contract.stability import sweep_bits
from edge_rnn.contract.stepgraph import Step, StepGraph
from edge_rnn.contract.trial import Record, Subject, split_at
from edge_rnn.contract.verification import bit_inputs, cpu_engine
from edge_rnn.models import EncoderDecoder, SequenceModel
from exporters.graph import LEAST_ONNXRUNTIME, OPSET
from exporters.inputs import infer_input, sample_input
from exporters.lift import Lifted, lift
from exporters.prompt import PROMPT_GRAPH, lift_prompt
from exporters.reference import measure_rounding, record_module
from exporters.source import Source

BATCH = 8
MARKS = (1, 2, 64, 128, GOLDEN_STEPS)
"""Numbers of steps after which the module's states are recorded."""

LARGEST_TOLERANCE = 1e-3
"""Beyond this a graph that is wrong could pass."""

Progress = Callable[[str, GateFigure], None]


def export_bundle(
    source: Source,
    path: Path | str,
    *,
    name: str | None = None,
    inputs: Sequence[InputSpec] = (),
    tolerance: float = TOLERANCE,
    progress: Progress | None = None,
) -> Bundle:
    """Export a module to the bundle ``path``; see the protocol above.

    ``inputs`` describe the arguments of forward where the module does not say them itself.
    ``tolerance`` is the error allowed per unit of the largest absolute value. ``progress`` is told each gate and its figure as it passes. Raises `ExportRefused` when the
    module cannot become a step graph and `GateFailed` when the graph is not the module; either
    way nothing is written.
    """
    name = check_name(name or source.name)
    check_tolerance(tolerance)
    module = _copy_for_inference(source.module)
    specs = tuple(inputs) or (infer_input(module),)
    lifted = lift(module, specs, name)
    golden, report = prove(module, lifted, name, tolerance=tolerance, progress=progress)
    manifest = _manifest(lifted, name, origin=source.origin, gates=report)
    files = {GRAPH: lifted.graph, GOLDEN: encode_golden(manifest, golden)}
    if isinstance(module, SequenceModel):
        manifest = msgspec.structs.replace(manifest, generation=module.generation)
    if isinstance(module, EncoderDecoder):
        prompt, files[PROMPT_GRAPH] = lift_prompt(module, manifest, tolerance=tolerance)
        manifest = msgspec.structs.replace(manifest, prompt=prompt)
    return write_bundle(path, manifest, files)


def prove(
    module: nn.Module,
    lifted: Lifted,
    name: str,
    *,
    step: Step | None = None,
    tolerance: float = TOLERANCE,
    progress: Progress | None = None,
) -> tuple[Golden, GateReport]:
    """Run every gate on a lifted graph (or on another ``step`` function for it) against its module.

    Returns the golden vectors and the figures. Raises `GateFailed`.
    """
    manifest = _manifest(lifted, name)
    step = StepGraph(manifest, lifted.graph) if step is None else step
    rng = np.random.default_rng(SEED)
    inputs = [sample_input(spec, module, GOLDEN_STEPS, BATCH, rng) for spec in lifted.inputs]
    expected = record_module(module, lifted, inputs, MARKS)
    golden = Golden([value[:, :GOLDEN_STREAMS] for value in inputs], _first_streams(expected))
    subject = Subject.of(manifest, step, [np.zeros(spec.row_shape, spec.dtype) for spec in manifest.states])
    figures: dict[str, GateFigure] = {}
    try:
        for gate, figure in measure_gates(subject, inputs, expected, tolerance=tolerance):
            figures[gate] = figure
            if progress is not None:
                progress(gate, figure)
        chunks = split_at(MARKS, GOLDEN_STEPS, 64)
        check_parity(subject, golden.inputs, golden.record, chunks, gate="golden vectors", tolerance=tolerance)
    except GateFailed as error:
        told = str(error)
        if GATES[0] not in figures:
            rounding = measure_rounding(module, lifted, inputs, expected)
            remark = _explain(subject, inputs, expected, rounding)
            told = f"{told.partition('; ')[0]}; {remark}" if remark else told
        raise GateFailed(f"{told}; nothing was written") from error
    bits = sweep_bits(subject, bit_inputs(golden.inputs), cpu_engine())
    return golden, report_of(figures, bits, tolerance=tolerance)


def _explain(subject: Subject, inputs: Sequence[np.ndarray], expected: Record, rounding: float | None) -> str:
    """What to do when parity fails because the module makes its own rounding errors grow."""
    if rounding is None or rounding < TOLERANCE / 4:
        return ""
    needed = 10.0 ** math.ceil(math.log10(4 * rounding))
    told = f"the module's own rounding grows to {rounding:.1g} of its largest value here (fp32 against fp64)"
    if needed > LARGEST_TOLERANCE:
        return f"{told}: it is chaotic, train it with smaller recurrent weights"
    try:
        check_parity(subject, inputs, expected, [1] * inputs[0].shape[0], tolerance=needed)
    except GateFailed:
        return ""
    return f"{told}: --tolerance {needed:.0e} allows for that"


def check_tolerance(tolerance: float) -> None:
    """Raise `UsageError` unless it is between `TOLERANCE` and `LARGEST_TOLERANCE`."""
    if not TOLERANCE <= tolerance <= LARGEST_TOLERANCE:
        raise UsageError(f"the tolerance is {tolerance:g}; give one from {TOLERANCE:g} to {LARGEST_TOLERANCE:g}")


def check_name(name: str) -> str:
    """A bundle's name: letters, digits, ``-``, ``_`` and ``.``. Raises `UsageError`."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
        raise UsageError(
            f"the name {name!r} cannot name a bundle: give --name with up to 64 letters, digits, '-', '_' and '.'"
        )
    return name


def _copy_for_inference(module: nn.Module) -> nn.Module:
    try:
        copied = copy.deepcopy(module)
    except Exception as error:  # parametrised modules refuse in their own ways
        raise ExportRefused(
            f"the module {type(module).__name__} cannot be copied: {' '.join(str(error).split())[:200]};"
            " remove its parametrisations (e.g. weight norm) first"
        ) from error
    return copied.to("cpu", torch.float32).eval()


def _first_streams(record: Record) -> Record:
    return Record(
        [value[:, :GOLDEN_STREAMS] for value in record.outputs],
        {mark: [value[:GOLDEN_STREAMS] for value in values] for mark, values in record.states.items()},
    )


def _manifest(
    lifted: Lifted, name: str, *, origin: dict[str, str] | None = None, gates: GateReport | None = None
) -> Manifest:
    return Manifest(
        format=FORMAT,
        name=name,
        graph=GRAPH,
        precision="fp32",
        opset=OPSET,
        onnxruntime=LEAST_ONNXRUNTIME,
        inputs=lifted.inputs,
        outputs=tuple(output.spec for output in lifted.outputs),
        states=tuple(state.spec for state in lifted.states),
        gates=gates,
        source={**(origin or {}), "torch": str(torch.__version__)},
    )
