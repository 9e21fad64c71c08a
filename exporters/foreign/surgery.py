"""Recurrent operators whose state is not exposed get a state pair: the cut through a whole-sequence graph.

A state is not exposed when its first value is absent, constant, or made from sizes only. LSTM, GRU
and RNN, the carried values of Scan and those of Loop (of a floating type) are cut; the gates prove
the cut, whole sequence against chunks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import NodeProto, helper

from edge_rnn.contract.errors import EngineError, ExportRefused
from exporters.foreign.flow import FIRST_INITIAL, RECURRENT, Flow, attribute_of, bodies, node_name
from exporters.foreign.model import ForeignModel, with_outputs
from exporters.foreign.pairs import Pair

_LENGTHS = 4


@dataclass(frozen=True)
class Hidden:
    """A state inside the graph: the node's place in the main graph, its input and output, and what it is called.

    ``shape`` has ``None`` for the batch; ``initial`` is the tensor of its first value, empty for zeros.
    """

    index: int
    input: int
    output: int
    name: str
    shape: tuple[int | None, ...]
    dtype: str
    initial: str


@dataclass(frozen=True)
class Cut:
    """A graph whose hidden states are exposed: the new pairs, and the first value of those that are not zero."""

    model: ForeignModel
    pairs: tuple[Pair, ...]
    initial: dict[str, np.ndarray]
    nodes: tuple[str, ...]


def expose_states(model: ForeignModel, flow: Flow) -> Cut:
    """Give every hidden state a pair of its own. Raises `ExportRefused` naming the node that cannot be cut."""
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    graph = proto.graph
    hidden = list(_hidden_states(model, flow))
    pairs, initial, nodes = [], {}, []
    taken = {*model.inputs, *model.outputs, *(name for node in graph.node for name in (*node.input, *node.output))}
    for state in hidden:
        node = graph.node[state.index]
        name = _free(f"{node_name(node)}.{state.name}".lstrip("/").replace("/", "."), taken)
        given, last = name, f"{name}.next"
        if state.initial and (first := _first_value(model, state)) is not None:
            initial[name] = first
        while len(node.input) <= state.input:
            node.input.append("")
        node.input[state.input] = given
        while len(node.output) <= state.output:
            node.output.append("")
        if not node.output[state.output]:
            node.output[state.output] = f"{name}.last"
        value = node.output[state.output]
        graph.node.append(helper.make_node("Identity", [value], [last], name=f"{last}/Identity"))
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(state.dtype))
        shape = ["batch" if size is None else size for size in state.shape]
        graph.input.append(helper.make_tensor_value_info(given, kind, shape))
        graph.output.append(helper.make_tensor_value_info(last, kind, shape))
        pairs.append(Pair(given, last, f"cut: the {state.name} of {node.op_type} {node_name(node)} was not exposed"))
        nodes.append(node_name(node))
    if hidden:
        _drop_lengths(graph, {state.index for state in hidden})
        del graph.value_info[:]
    return Cut(ForeignModel(proto, model.name), tuple(pairs), initial, tuple(dict.fromkeys(nodes)))


def refuse_backward(flow: Flow, name: str) -> None:
    """Raises `ExportRefused` for a recurrent operator that needs the end of the sequence."""
    for _, node in flow.nodes:
        way = attribute_of(node, "direction", "forward") if node.op_type in RECURRENT else "forward"
        if way != "forward":
            both = way == "bidirectional"
            raise ExportRefused(
                f"{name}: node {node_name(node)!r} ({node.op_type}) {'is bidirectional' if both else 'runs backwards'}: it"
                " needs the end of the sequence, which a stream has not; export a model that only looks back"
            )


def uncut_inside(flow: Flow) -> NodeProto | None:
    """A recurrent operator inside an If, Loop or Scan whose state no input decides: it cannot be cut there."""
    for scope, node in flow.nodes:
        kinds = RECURRENT.get(node.op_type, ())
        if scope and any(not _is_exposed(flow, scope, node, number) for number in range(len(kinds))):
            return node
    return None


def _hidden_states(model: ForeignModel, flow: Flow) -> Iterator[Hidden]:
    for index, node in enumerate(model.proto.graph.node):
        if node.op_type in RECURRENT:
            yield from _recurrent(model, flow, index, node)
        elif node.op_type == "Scan":
            carried = len(node.input) - int(str(attribute_of(node, "num_scan_inputs", 0)))
            yield from _carried(model, flow, index, node, range(carried), 0)
        elif node.op_type == "Loop":
            yield from _carried(model, flow, index, node, range(2, len(node.input)), -2)


def _recurrent(model: ForeignModel, flow: Flow, index: int, node: NodeProto) -> Iterator[Hidden]:
    for number, kind in enumerate(RECURRENT[node.op_type]):
        if _is_exposed(flow, 0, node, number):
            continue
        at = FIRST_INITIAL + number
        initial = node.input[at] if len(node.input) > at else ""
        lengths = node.input[_LENGTHS] if len(node.input) > _LENGTHS else ""
        if lengths and (given := flow.fed_by(0, lengths)):
            raise ExportRefused(
                f"{model.name}: node {node_name(node)!r} ({node.op_type}) takes the lengths of sequences from {min(given)!r}:"
                " a stream has no length; export the model without them"
            )
        batchwise = bool(attribute_of(node, "layout", 0))
        width = int(str(attribute_of(node, "hidden_size", 0)))
        shape = (None, 1, width) if batchwise else (1, None, width)
        if not width:
            raise ExportRefused(f"{model.name}: node {node_name(node)!r} ({node.op_type}) does not say its hidden_size")
        yield Hidden(index, at, 1 + number, kind, shape, _weight_dtype(model, flow, node), initial)


def _is_exposed(flow: Flow, scope: int, node: NodeProto, number: int) -> bool:
    """Whether an input decides a first state."""
    at = FIRST_INITIAL + number
    return len(node.input) > at and bool(node.input[at]) and bool(flow.fed_by(scope, node.input[at]))


def _carried(
    model: ForeignModel, flow: Flow, index: int, node: NodeProto, places: Sequence[int], shift: int
) -> Iterator[Hidden]:
    """Values that a Scan or Loop carries and whose first value no input decides."""
    body = next(bodies(node))
    moved = {at for at in places if not _stays(body, at, at + shift + (1 if node.op_type == "Loop" else 0))}
    hidden = [at for at in places if at in moved and node.input[at] and not flow.fed_by(0, node.input[at])]
    if not hidden:
        return
    kinds: list[tuple[int, np.dtype, tuple[int | None, ...]]] = []
    for at in hidden:
        value = _evaluate(model, node.input[at])
        if value is None:
            raise ExportRefused(
                f"{model.name}: the first value of what node {node_name(node)!r} ({node.op_type}) carries cannot be found:"
                f" {node.input[at]!r} does not run by itself; export the model with its state as input"
            )
        if np.issubdtype(value[0].dtype, np.floating) and value[0].ndim:
            if None not in value[1]:
                raise ExportRefused(
                    f"{model.name}: what node {node_name(node)!r} ({node.op_type}) carries, {list(value[0].shape)}, has no"
                    " batch axis; export the model with its state as input"
                )
            kinds.append((at, value[0].dtype, value[1]))
    for at, dtype, shape in kinds:
        name = f"carried.{at}" if len(kinds) > 1 else "carried"
        yield Hidden(index, at, at + shift, name, shape, str(dtype), node.input[at])


def _stays(body: onnx.GraphProto, given: int, result: int) -> bool:
    """Whether a body gives a carried value back as it came: weights often ride along."""
    name, made = body.output[result].name, {out: node for node in body.node for out in node.output}
    while name in made and made[name].op_type == "Identity":
        name = made[name].input[0]
    return bool(name == body.input[given].name)


def _evaluate(model: ForeignModel, tensor: str) -> tuple[np.ndarray, tuple[int | None, ...]] | None:
    """A tensor that only sizes decide, and its shape with ``None`` on the axis that grows with the batch."""
    session = with_outputs(model, [tensor])
    found: list[np.ndarray] = []
    for batch in (2, 3):
        for free in (batch, 1):
            feed = {
                name: np.zeros([free if size is None else size for size in spec.dims], spec.dtype)
                for name, spec in model.inputs.items()
            }
            try:
                found.append(session.run(feed, [tensor])[tensor])
                break
            except EngineError:
                continue
    if not found or len({value.ndim for value in found}) > 1:
        return None
    grown = [a != b for a, b in zip(found[0].shape, found[-1].shape, strict=True)]
    shape = tuple(None if grew else size for size, grew in zip(found[0].shape, grown, strict=True))
    if shape.count(None) > 1:
        return None
    if None not in shape and 1 in shape:
        at = 1 if len(shape) > 2 and shape[1] == 1 else shape.index(1)
        shape = tuple(None if axis == at else size for axis, size in enumerate(shape))
    return found[0], shape


def _first_value(model: ForeignModel, state: Hidden) -> np.ndarray | None:
    """The first value of one stream ``[*row]``; ``None`` where it is zero. Raises `ExportRefused` if streams differ."""
    found = _evaluate(model, state.initial)
    if found is None:
        raise ExportRefused(
            f"{model.name}: the first value {state.initial!r} does not run by itself; give it as an input"
        )
    value = found[0]
    if not np.any(value):
        return None
    rows = np.moveaxis(value, state.shape.index(None), 0)
    if not (rows == rows[:1]).all():
        raise ExportRefused(f"{model.name}: the first value {state.initial!r} differs from stream to stream")
    return np.ascontiguousarray(rows[0])


def _weight_dtype(model: ForeignModel, flow: Flow, node: NodeProto) -> str:
    place, _ = flow.find(0, node.input[1])
    for tensor in model.proto.graph.initializer:
        if tensor.name == place.name:
            return str(helper.tensor_dtype_to_np_dtype(tensor.data_type))
    return "float32"


def _drop_lengths(graph: onnx.GraphProto, cut: set[int]) -> None:
    """Lengths of sequences that are only the number of steps say nothing of a stream."""
    for index in cut:
        node = graph.node[index]
        if node.op_type in RECURRENT and len(node.input) > _LENGTHS and node.input[_LENGTHS]:
            node.input[_LENGTHS] = ""


def _free(name: str, taken: set[str]) -> str:
    found, number = name, 1
    while found in taken or f"{found}.next" in taken:
        number += 1
        found = f"{name}.{number}"
    taken.update({found, f"{found}.next"})
    return found
