"""A bundle's step graph for chunks of one size: time fixed, batch dynamic, no loop and no recurrent operator."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np
import onnx
from onnx import NodeProto, numpy_helper

from edge_rnn.contract.bundle import Bundle
from edge_rnn.contract.errors import ExportRefused, UsageError
from edge_rnn.contract.signature import Manifest
from exporters.decompose.recurrent import decompose_layer, layer_of
from exporters.decompose.unroll import unroll_scan
from exporters.foreign.flow import RECURRENT, attribute_of, bodies, node_name
from exporters.precision.quantise import Additions

LOOPS = ("Scan", "Loop", "SequenceMap")


@dataclass(frozen=True)
class ChunkGraph:
    """The graph of one chunk size. ``manifest`` is the bundle's without the constants that stand in the graph now."""

    manifest: Manifest
    chunk: int
    graph: bytes


def decompose_bundle(bundle: Bundle, chunk: int) -> ChunkGraph:
    """The step graph for calls of exactly ``chunk`` steps, in fp32: names, axes and states are the bundle's.

    Raises `ExportRefused` naming the node that cannot be decomposed, `UsageError` for a bundle that is not in fp32 or
    a chunk that its graph does not take.
    """
    manifest = bundle.manifest
    if manifest.precision != "fp32":
        raise UsageError(f"{bundle.path} is {manifest.precision}; decompose the bundle in fp32")
    if chunk < 1 or chunk & (chunk - 1):
        raise UsageError(f"a chunk has {chunk} steps, expected 1, 2, 4 or another power of two")
    if chunk > 1 and not manifest.has_time:
        raise UsageError(f"the step graph of {manifest.name!r} takes one step a call, a chunk has {chunk}")
    model = onnx.load(str(bundle.graph_path))
    _fix_time(model.graph, manifest, chunk)
    constants = bundle.constants()
    baked = [spec for spec in manifest.constants if spec.batch_axis is None]
    for spec in baked:
        _bake(model.graph, spec.name, constants[spec.name].astype(spec.dtype))
    _decompose(model.graph, chunk)
    left = tuple(spec for spec in manifest.constants if spec not in baked)
    graph = bytes(model.SerializeToString(deterministic=True))
    onnx.checker.check_model(graph, full_check=True)
    return ChunkGraph(msgspec.structs.replace(manifest, constants=left), chunk, graph)


def _fix_time(graph: onnx.GraphProto, manifest: Manifest, chunk: int) -> None:
    axes = {spec.name: spec.time_axis for spec in (*manifest.inputs, *manifest.outputs)}
    for value in (*graph.input, *graph.output):
        axis = axes.get(value.name)
        if axis is not None and value.type.tensor_type.HasField("shape"):
            value.type.tensor_type.shape.dim[axis].dim_value = chunk
    del graph.value_info[:]


def _bake(graph: onnx.GraphProto, name: str, value: np.ndarray) -> None:
    graph.input.remove(next(each for each in graph.input if each.name == name))
    graph.initializer.append(numpy_helper.from_array(value, name))


def _decompose(graph: onnx.GraphProto, chunk: int) -> None:
    kept = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and (value := attribute_of(node, "value", None)) is not None:
            kept[node.output[0]] = numpy_helper.to_array(value)  # type: ignore[arg-type]
    nodes: list[NodeProto] = []
    weights: list[onnx.TensorProto] = []
    for node in graph.node:
        added = _instead(node, kept, chunk)
        nodes += [node] if added is None else added.nodes
        weights += [] if added is None else added.weights
    nodes = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.extend(weights)
    used = {name for node in nodes for name in _read(node)} | {value.name for value in graph.output}
    left = [onnx.TensorProto.FromString(t.SerializeToString()) for t in graph.initializer if t.name in used]
    del graph.initializer[:]
    graph.initializer.extend(left)


def _instead(node: NodeProto, kept: dict[str, np.ndarray], chunk: int) -> Additions | None:
    """What takes a node's place; ``None``: it stays."""
    if node.op_type in RECURRENT:
        return decompose_layer(node, layer_of(node, kept), chunk)
    if node.op_type == "Scan":
        return unroll_scan(node, chunk)
    looping = [inner.op_type for inner in _inside(node) if inner.op_type in (*LOOPS, *RECURRENT)]
    if node.op_type in LOOPS or looping:
        what = node.op_type if node.op_type in LOOPS else f"{node.op_type} around {looping[0]}"
        raise ExportRefused(
            f"node {node_name(node)!r} ({what}) cannot be written out for TensorRT: its number of steps is not known"
            " beforehand; run the bundle on the CPU or with CUDA"
        )
    return None


def _inside(node: NodeProto) -> list[NodeProto]:
    """All nodes in the bodies of a node, at any depth."""
    return [each for body in bodies(node) for inner in body.node for each in (inner, *_inside(inner))]


def _read(node: NodeProto) -> set[str]:
    """What a node reads, in its bodies too."""
    names = {name for inner in (node, *_inside(node)) for name in inner.input}
    return names | {value.name for body in bodies(node) for value in body.output}
