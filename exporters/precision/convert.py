"""A bundle in fp32 in, one of a lower precision out, or nothing.

1. calibrate   the largest activations on sequences given or drawn
2. convert     the graph: integer products, or weights of half the size
3. compare     answers with fp32's, on the golden inputs and the calibration set; `max_drop` refuses
4. record      golden vectors of the new graph itself, with two streams
5. gates       isolation, chunking and repetition of the record
6. write       the bundle, whole or not at all
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
import onnx
from onnx import helper, numpy_helper

from edge_rnn.contract.accuracy import Accuracy, AccuracyFigure
from edge_rnn.contract.bundle import GOLDEN, GRAPH, INITIAL, MANIFEST, Bundle, write_bundle
from edge_rnn.contract.cpu import adds_eight_bits
from edge_rnn.contract.errors import ExportRefused, GateFailed, UsageError
from edge_rnn.contract.gates import check_isolation, measure_gates, report_of
from edge_rnn.contract.golden import GOLDEN_STEPS, Golden, encode_golden, load_golden
from edge_rnn.contract.signature import Manifest
from edge_rnn.contract.stability import sweep_bits
from edge_rnn.contract.stepgraph import StepGraph, open_step_graph
from edge_rnn.contract.trial import Record, Subject, run_chunks
from edge_rnn.contract.verification import bit_inputs, cpu_engine
from exporters.foreign.flow import bodies, node_name
from exporters.foreign.wrap import AXES_AS_INPUT
from exporters.precision.accuracy import measure_accuracy
from exporters.precision.calibration import (
    Calibration,
    drawn_calibration,
    largest_activations,
    read_calibration,
    run_steps,
)
from exporters.precision.dense import is_dense, take_apart_dense
from exporters.precision.half import halve_weights
from exporters.precision.quantise import CONTRIB
from exporters.precision.recurrent import GATES as RECURRENT
from exporters.precision.recurrent import take_apart, weights_of, why_not

Precision = Literal["int8", "fp16"]

MAX_DROP = 0.05
TOLERANCE = 1e-3
"""Of the new graph's own record: another CPU may round an activation to the step beside it."""

MARGIN = 1.05
LARGEST_STATE = 1.0
"""An LSTM's or GRU's h stays within 1."""


@dataclass(frozen=True)
class Wanted:
    """What is asked for. ``weight_bits`` 0: 8 where this CPU adds products of 8 bits, else 7."""

    precision: Precision
    calibration: Path | None = None
    max_drop: float = MAX_DROP
    weight_bits: int = 0


def convert_bundle(bundle: Bundle, path: Path | str, wanted: Wanted) -> Bundle:
    """Write the bundle in another precision to ``path``; see the protocol above.

    Raises `ExportRefused` where there is nothing to convert, `GateFailed` where the answers drop by
    more than ``max_drop`` or streams do not keep apart. Nothing is written then.
    """
    if bundle.manifest.precision != "fp32":
        raise UsageError(f"{bundle.path} is {bundle.manifest.precision} already; convert the bundle in fp32")
    if not 0 <= wanted.max_drop <= 1:
        raise UsageError(f"--max-drop is {wanted.max_drop:g}, expected a share from 0 to 1")
    if wanted.weight_bits not in (0, 7, 8):
        raise UsageError(f"--weight-bits is {wanted.weight_bits}, expected 7 or 8")
    given = wanted.calibration
    calibration = drawn_calibration(bundle) if given is None else read_calibration(bundle, given)
    if wanted.precision == "int8":
        bits = wanted.weight_bits or (8 if adds_eight_bits() else 7)
        graph = quantise_graph(bundle, calibration, bits)
    else:
        bits, graph = 16, halve_weights(bundle.graph_path.read_bytes())
    manifest = msgspec.structs.replace(bundle.manifest, precision=wanted.precision)
    step = StepGraph(manifest, graph, constants=bundle.constants())
    accuracy = _compare(bundle, step, calibration, bits)
    worst = max(accuracy.golden.drop, accuracy.calibration.drop)
    if worst > wanted.max_drop:
        raise GateFailed(
            f"{wanted.precision}: answers drop by {worst:.3g} ({_meaning(manifest)}), --max-drop allows {wanted.max_drop:g};"
            " calibrate on sequences like those of use (--calibration), or stay with fp32; nothing was written"
        )
    manifest = msgspec.structs.replace(manifest, accuracy=accuracy)
    return _write(bundle, manifest, graph, step, path)


def quantise_graph(bundle: Bundle, calibration: Calibration, bits: int) -> bytes:
    """The step graph with integer products. Raises `ExportRefused` where it has none to make."""
    model = onnx.load_from_string(bundle.graph_path.read_bytes())
    kept = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    reasons, cells, products = [], [], []
    for node in model.graph.node:
        if node.op_type in RECURRENT:
            if reason := why_not(node, kept):
                reasons.append(f"node {node_name(node)!r} ({node.op_type}) stays in fp32: {reason}")
            else:
                cells.append(node)
        elif is_dense(node, kept):
            products.append(node)
    if not cells and not products:
        told = f" ({reasons[0]})" if reasons else ""
        raise ExportRefused(
            f"{bundle.manifest.name}: nothing to quantise{told}: int8 is for LSTM, GRU and large products whose weights"
            " are constant; use --precision fp16 for size"
        )
    if bundle.manifest.opset < AXES_AS_INPUT:
        raise ExportRefused(
            f"{bundle.manifest.name}: the graph is of opset {bundle.manifest.opset}, int8 needs {AXES_AS_INPUT} or later;"
            " export the model again with a later opset, or use --precision fp16 for size"
        )
    watched = list(
        dict.fromkeys([*(node.input[0] for node in (*cells, *products)), *(_rows_of(node) for node in cells)])
    )
    largest = largest_activations(bundle, watched, calibration)
    taken = {id(node) for node in (*cells, *products)}
    nodes, weights = [], []
    for node in model.graph.node:
        if id(node) not in taken:
            nodes.append(node)
            continue
        x = MARGIN * largest[node.input[0]]
        if node.op_type in RECURRENT:
            h = min(LARGEST_STATE, MARGIN * largest[_rows_of(node)])
            added = take_apart(node, weights_of(node, kept), (x, h), bits)
        else:
            added = take_apart_dense(node, kept, x, bits)
        nodes += added.nodes
        weights += added.weights
    return _assembled(model, nodes, weights)


def _rows_of(node: onnx.NodeProto) -> str:
    """The tensor that shows how large a recurrent node's h gets."""
    return str(node.output[0] or node.output[1])


def _assembled(model: onnx.ModelProto, nodes: list[onnx.NodeProto], weights: list[onnx.TensorProto]) -> bytes:
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(copies)
    used = {name for node in copies for name in node.input}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in used or _in_bodies(tensor.name, copies)]
    kept = [onnx.TensorProto.FromString(tensor.SerializeToString()) for tensor in kept]
    del model.graph.initializer[:], model.graph.value_info[:]
    model.graph.initializer.extend([*kept, *weights])
    if all(opset.domain != CONTRIB for opset in model.opset_import):
        model.opset_import.append(helper.make_opsetid(CONTRIB, 1))
    return bytes(model.SerializeToString(deterministic=True))


def _in_bodies(name: str, nodes: list[onnx.NodeProto]) -> bool:
    """Whether a body uses a tensor of the main graph."""
    return any(
        name in inner.input or _in_bodies(name, [inner])
        for node in nodes
        for body in bodies(node)
        for inner in body.node
    )


def _compare(bundle: Bundle, step: StepGraph, calibration: Calibration, bits: int) -> Accuracy:
    exact, spec = open_step_graph(bundle), bundle.manifest.outputs[0]

    def figure(runs: list[list[np.ndarray]]) -> AccuracyFigure:
        found = [run_steps(bundle, step, inputs) for inputs in runs]
        return measure_accuracy(spec, found, [run_steps(bundle, exact, inputs) for inputs in runs])

    golden = [list(load_golden(bundle).inputs)]
    return Accuracy(
        golden=figure(golden), calibration=figure(calibration.runs), source=calibration.source, weight_bits=bits
    )


def _write(bundle: Bundle, manifest: Manifest, graph: bytes, step: StepGraph, path: Path | str) -> Bundle:
    golden = load_golden(bundle)
    subject = Subject.of(manifest, step, [bundle.initial_state(spec) for spec in manifest.states])
    steps = golden.inputs[0].shape[0]
    whole = run_chunks(subject, golden.inputs, [1] * steps)
    marks = sorted(golden.record.states)
    record = Record(whole.outputs, {mark: whole.states[mark] for mark in marks})
    figures = dict(measure_gates(subject, golden.inputs, record, tolerance=TOLERANCE))
    strict = check_isolation(subject, [value[:GOLDEN_STEPS] for value in golden.inputs], tolerance=TOLERANCE)
    if max(strict.max_abs_error, figures["isolation"].max_abs_error) > figures["isolation"].bound * 1e-3:
        raise GateFailed(
            f"{manifest.precision}: a stream's results differ by {figures['isolation'].max_abs_error:.2g} beside loud"
            " neighbours, which a fixed scale rules out; report the model; nothing was written"
        )
    bits = sweep_bits(subject, bit_inputs(golden.inputs), cpu_engine())
    report = report_of(figures, bits, tolerance=TOLERANCE)
    manifest = msgspec.structs.replace(manifest, gates=report)
    files = {name: (bundle.path / name).read_bytes() for name in bundle.manifest.files if name not in (MANIFEST,)}
    files[GRAPH], files[GOLDEN] = graph, encode_golden(manifest, Golden(golden.inputs, record))
    assert set(files) <= {GRAPH, GOLDEN, INITIAL} | set(bundle.manifest.files)
    return write_bundle(path, manifest, files)


def _meaning(manifest: Manifest) -> str:
    spec = manifest.outputs[0]
    return "error per standard deviation" if spec.kind == "values" else "share of steps with another decision"
