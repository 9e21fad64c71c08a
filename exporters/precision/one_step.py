"""Calls of one step in a graph of their own, without a Scan: live streams make no other calls.

A Scan costs each call several microseconds, which one step of one stream notices. Both graphs use the
same weights, which stand once in a file beside them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
from onnx import GraphProto, TensorProto, helper, numpy_helper

from edge_rnn.contract.bundle import GRAPH, ONE_STEP, WEIGHTS
from edge_rnn.contract.errors import EngineError
from edge_rnn.contract.signature import Manifest
from edge_rnn.contract.stability import BATCHES
from edge_rnn.contract.stepgraph import StepGraph
from edge_rnn.contract.trial import Record, Subject, run_chunks
from exporters.foreign.flow import bodies, names_used, rename

FEWEST_BYTES = 1024
"""Smaller tensors stay in their graph."""

ALIGNMENT = 64
"""Bytes: the file is mapped, and numbers are read where they stand."""


def shorten(graph: GraphProto, ys: Iterable[str]) -> None:
    """Take out what changes no value: Identity, and Unsqueeze with Squeeze around all h of one step.

    ``ys``: the outputs Y ``[1, 1, batch, hidden]`` of the recurrent operators that were, each an Unsqueeze of
    h ``[1, batch, hidden]``.
    """
    weights = {tensor.name: tensor for tensor in graph.initializer}
    h_of = {node.output[0]: node.input[0] for node in graph.node if node.output[0] in set(ys)}
    for node in graph.node:
        if node.op_type == "Squeeze" and node.input[0] in h_of and _numbers(weights.get(node.input[1])) == [1]:
            node.CopyFrom(helper.make_node("Identity", [h_of[node.input[0]]], list(node.output), name=node.name))
    used = {name for node in graph.node for name in names_used(node)} | {value.name for value in graph.output}
    for node in [node for node in graph.node if node.output[0] in h_of and node.output[0] not in used]:
        graph.node.remove(node)

    ends = {value.name for value in graph.output}
    fixed = {value.name for value in graph.input} | set(weights)
    for node in [node for node in graph.node if node.op_type == "Identity"]:
        (before,), (after,) = node.input, node.output
        if after in ends and (before in ends or before in fixed):
            continue
        graph.node.remove(node)
        rename(graph, *((before, after) if after in ends else (after, before)))


def share_weights(graphs: Mapping[str, bytes]) -> dict[str, bytes]:
    """The same graphs with their larger tensors in the file `WEIGHTS`, each once."""
    kept = bytearray()
    places: dict[bytes, int] = {}
    files = {}
    for name, graph in graphs.items():
        model = onnx.load_from_string(graph)
        for tensor in _tensors(model.graph):
            value = tensor.raw_data
            if len(value) < FEWEST_BYTES:
                continue
            if value not in places:
                kept.extend(bytes(-len(kept) % ALIGNMENT))
                places[value] = len(kept)
                kept.extend(value)
            tensor.ClearField("raw_data")
            tensor.data_location = TensorProto.EXTERNAL
            for key, entry in (("location", WEIGHTS), ("offset", places[value]), ("length", len(value))):
                tensor.external_data.add(key=key, value=str(entry))
        files[name] = bytes(model.SerializeToString(deterministic=True))
    return {**files, WEIGHTS: bytes(kept)}


@contextmanager
def opened(manifest: Manifest, files: Mapping[str, bytes], constants: dict[str, np.ndarray]) -> Iterator[StepGraph]:
    """The step graph of files that are not in a bundle yet."""
    with tempfile.TemporaryDirectory(prefix="edge-rnn-graph-") as folder:
        for name, data in files.items():
            (Path(folder) / name).write_bytes(data)
        one_step = str(Path(folder) / ONE_STEP) if ONE_STEP in files else None
        yield StepGraph(manifest, str(Path(folder) / GRAPH), one_step=one_step, constants=constants)


def gives_the_same(
    manifest: Manifest,
    graphs: tuple[bytes, bytes],
    constants: dict[str, np.ndarray],
    initial: Sequence[np.ndarray],
    inputs: Sequence[np.ndarray],
) -> bool:
    """Whether the second graph gives every bit of the first over ``inputs`` in single steps.

    ``inputs``: ``[time, batch, *row]`` of the largest of `BATCHES` streams. A graph in which a step is
    several for its recurrent operators does not, or does not run.
    """
    try:
        one, other = (
            Subject.of(manifest, StepGraph(manifest, graph, constants=constants), initial) for graph in graphs
        )
        return all(
            _bits(run_chunks(one, part, [1] * len(part[0]))) == _bits(run_chunks(other, part, [1] * len(part[0])))
            for part in ([value[:, :batch] for value in inputs] for batch in BATCHES)
        )
    except EngineError:
        return False


def _numbers(tensor: TensorProto | None) -> object:
    """The values of a weight as a list, ``None`` of what is none."""
    return None if tensor is None else numpy_helper.to_array(tensor).tolist()


def _bits(record: Record) -> list[bytes]:
    states = [value for step in sorted(record.states) for value in record.states[step]]
    return [value.tobytes() for value in (*record.outputs, *states)]


def _tensors(graph: GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for node in graph.node:
        for body in bodies(node):
            yield from _tensors(body)
