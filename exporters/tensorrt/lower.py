"""Chunk graphs whose products are in fp16, bf16 or int8; gates, states, inputs and outputs stay in fp32.

For TensorRT's strongly typed networks: casts around each product for fp16 and bf16, and explicit symmetric s8 Q/DQ
pairs for int8, as TensorRT takes them (a product of u8 does not parse there). One scale an activation, one an output
of a weight; all steps of a chunk share them. The calibration is that of the CPU's int8.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from edge_rnn.contract.accuracy import AccuracyFigure
from edge_rnn.contract.bundle import Bundle
from edge_rnn.contract.errors import GateFailed
from edge_rnn.contract.golden import load_golden
from edge_rnn.contract.plans import TOLERANCES, EnginePrecision
from edge_rnn.contract.stepgraph import Arrays, first_states, open_step_graph
from edge_rnn.contract.verification import check_golden
from exporters.decompose.chunk import ChunkGraph, decompose_bundle
from exporters.decompose.proof import ChunkedStep
from exporters.foreign.flow import attribute_of
from exporters.precision.accuracy import measure_accuracy
from exporters.precision.calibration import (
    Calibration,
    Watching,
    drawn_calibration,
    read_calibration,
    run_steps,
)
from exporters.precision.convert import MARGIN
from exporters.precision.quantise import Additions, Quantised

TYPES = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}
SMALLEST = 1e-6
"""The least of what an activation reaches, so that its scale is a number."""


def calibration_of(bundle: Bundle, path: Path | None) -> Calibration:
    """The sequences of a file, or drawn ones. Raises `UsageError`."""
    return drawn_calibration(bundle) if path is None else read_calibration(bundle, path)


def largest_inputs(bundle: Bundle, calibration: Calibration) -> dict[str, float]:
    """By weight, the largest absolute value that is multiplied with it over all runs."""
    graph = decompose_bundle(bundle, 1)
    model = onnx.load_from_string(graph.graph)
    kept = _constants(model.graph)
    rows = {node.input[1]: node.input[0] for node in _products(model.graph, kept)}
    constants = bundle.constants()
    step = Watching(
        graph.manifest,
        graph.graph,
        list(dict.fromkeys(rows.values())),
        {spec.name: constants[spec.name] for spec in graph.manifest.constants},
    )
    for inputs in calibration.runs:
        states = first_states(bundle, inputs[0].shape[1])
        for t in range(inputs[0].shape[0]):
            _, states = step([value[t : t + 1] for value in inputs], states)
    return {weight: step.largest[name] for weight, name in rows.items()}


def lower_chunk(
    graph: ChunkGraph, precision: EnginePrecision, largest: Mapping[str, float], *, played: bool = False
) -> ChunkGraph:
    """The graph of a chunk with its products in ``precision``; ``largest`` as `largest_inputs` gives it, for int8.

    ``played``: operands are rounded to fp16 or bf16 and multiplied in fp32, for a CPU: ONNX Runtime has no product in
    bf16 there, and was seen to leave out the casts around one in fp16.
    """
    if precision == "fp32":
        return graph
    model = onnx.load_from_string(graph.graph)
    kept = _constants(model.graph)
    chosen = {node.output[0] for node in _products(model.graph, kept)}
    nodes: list[NodeProto] = []
    weights: list[TensorProto] = []
    for node in model.graph.node:
        if not node.output or node.output[0] not in chosen:
            nodes.append(node)
            continue
        to = Additions(f"{node.output[0]}/{precision}", weights=weights, weights_prefix=f"{node.input[1]}/{precision}")
        if precision == "int8":
            _quantised(to, node, kept, largest.get(node.input[1], 0.0))
        else:
            _halved(to, node, kept, TYPES[precision], played)
        nodes += to.nodes
    nodes = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input} | {value.name for value in model.graph.output}
    left = [TensorProto.FromString(each.SerializeToString()) for each in model.graph.initializer if each.name in used]
    del model.graph.initializer[:], model.graph.value_info[:]
    model.graph.initializer.extend([*left, *weights])
    return ChunkGraph(graph.manifest, graph.chunk, bytes(model.SerializeToString(deterministic=True)))


def prove_lower(
    bundle: Bundle, graphs: list[ChunkGraph], precision: EnginePrecision, calibration: Calibration, max_drop: float
) -> AccuracyFigure:
    """Hold graphs in a lower precision to the golden vectors and to the answers of fp32, on the CPU.

    ``graphs`` are played ones (see `lower_chunk`). Returns the worse of the figures on golden and calibration inputs.
    Raises `GateFailed` beyond the precision's tolerance or a drop of ``max_drop``.
    """
    step = ChunkedStep(bundle, graphs)
    check_golden(bundle, step, tolerance=TOLERANCES[precision], longest_chunk=max(each.chunk for each in graphs))
    exact, spec = open_step_graph(bundle), bundle.manifest.outputs[0]

    def answers(runs: list[Arrays]) -> AccuracyFigure:
        found = [run_steps(bundle, step, inputs) for inputs in runs]
        return measure_accuracy(spec, found, [run_steps(bundle, exact, inputs) for inputs in runs])

    figures = [answers([list(load_golden(bundle).inputs)]), answers(calibration.runs)]
    worst = max(figures, key=lambda figure: figure.drop)
    if worst.drop > max_drop:
        raise GateFailed(
            f"{precision} engines: answers drop by {worst.drop:.3g}, --max-drop allows {max_drop:g}; calibrate on sequences"
            " like those of use (--calibration), or stay with fp32; no engine was built"
        )
    return worst


def _constants(graph: onnx.GraphProto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}


def _products(graph: onnx.GraphProto, kept: Mapping[str, np.ndarray]) -> list[NodeProto]:
    """The products with a constant matrix; a Gemm only as ``x W + b``."""
    found = []
    for node in graph.node:
        if node.op_type not in ("MatMul", "Gemm"):
            continue
        weight = kept.get(node.input[1])
        plain = node.op_type == "MatMul" or (
            not attribute_of(node, "transA", 0)
            and attribute_of(node, "alpha", 1.0) == attribute_of(node, "beta", 1.0) == 1.0
        )
        if plain and weight is not None and weight.ndim == 2 and weight.dtype == np.float32:
            found.append(node)
    return found


def _weight_of(node: NodeProto, kept: Mapping[str, np.ndarray]) -> np.ndarray:
    """``[in, out]``."""
    weight = kept[node.input[1]]
    return weight.T if node.op_type == "Gemm" and attribute_of(node, "transB", 0) else weight


def _finish(to: Additions, node: NodeProto, product: str) -> None:
    """The bias of a Gemm in fp32, and the node's own name for the sum."""
    bias = node.input[2] if node.op_type == "Gemm" and len(node.input) > 2 else ""
    kind, inputs = ("Add", [product, bias]) if bias else ("Identity", [product])
    to.nodes.append(helper.make_node(kind, inputs, [node.output[0]], name=f"{node.output[0]}/{kind}"))


def _halved(to: Additions, node: NodeProto, kept: Mapping[str, np.ndarray], dtype: int, played: bool) -> None:
    weight = to.weight(_weight_of(node, kept), "W")
    rows, columns = (
        to.op("Cast", [name], f"{end}.half", to=dtype) for name, end in ((node.input[0], "x"), (weight, "W"))
    )
    if played:
        rows, columns = (
            to.op("Cast", [name], f"{end}.rounded", to=TensorProto.FLOAT) for name, end in ((rows, "x"), (columns, "W"))
        )
        _finish(to, node, to.op("MatMul", [rows, columns], "product"))
    else:
        product = to.op("MatMul", [rows, columns], "product.half")
        _finish(to, node, to.op("Cast", [product], "product", to=TensorProto.FLOAT))


def _quantised(to: Additions, node: NodeProto, kept: Mapping[str, np.ndarray], largest: float) -> None:
    scale = to.weight(np.asarray(max(MARGIN * largest, SMALLEST) / 127, np.float32), "x.scale")
    zero = to.weight(np.zeros((), np.int8), "x.zero")
    rows = to.op("DequantizeLinear", [to.op("QuantizeLinear", [node.input[0], scale, zero], "x.s8"), scale, zero], "x")
    weight = Quantised.of(_weight_of(node, kept), 8)
    given = [
        to.weight(weight.values, "W.s8"),
        to.weight(weight.scales, "W.scales"),
        to.weight(np.zeros(weight.scales.shape, np.int8), "W.zeros"),
    ]
    columns = to.op("DequantizeLinear", given, "W", axis=1)
    _finish(to, node, to.op("MatMul", [rows, columns], "product"))
