"""torch's recurrent layers, taken whole: one ONNX operator a layer, or one step each where that cannot be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from edge_rnn.contract.errors import ExportRefused
from exporters.trace.nodes import Node
from exporters.trace.registry import FUNCTIONS, rule
from exporters.trace.rules.align import ahead, const_rows, made, reshaped
from exporters.trace.tracer import Recurrence, Tracer
from exporters.trace.values import Value

KINDS = ("lstm", "gru", "rnn_tanh", "rnn_relu")
GATE_ORDER = {"lstm": (0, 3, 1, 2), "gru": (1, 0, 2)}
"""For each block of ONNX's stacked weights, the number of torch's block."""


def recurrent(tracer: Tracer, func: Any, args: Sequence[Any]) -> Any:
    """``lstm``, ``gru``, ``rnn_tanh`` or ``rnn_relu`` as torch's modules and functionals call them."""
    kind = func.__name__
    call = tracer.calls - 1
    if isinstance(args[1], Tensor) and isinstance(args[3], (tuple, list)):
        raise tracer.refuse("runs on a packed sequence; a stream has no length: give it the padded sequence as it is")
    x, hx, weights, bias, layers = args[:5]
    bidirectional, batch_first = args[7:9]
    if bidirectional:
        raise tracer.refuse(
            "is bidirectional: its backward half needs the future, which a stream has not; train it with"
            " bidirectional=False and, to see a little ahead, with targets delayed by some steps"
        )
    value = tracer.value(x)
    if value is not None and x.dim() == 3 and value.axes[1 if batch_first else 0] == ("B",):
        expected = ("batch,time" if batch_first else "time,batch", "time,batch" if batch_first else "batch,time")
        raise tracer.refuse(
            f"takes {expected[0]},{x.shape[2]}, but gets {expected[1]},{x.shape[2]}; say how the module's input is laid out,"
            f" e.g. --input x:float32:{expected[0]},{x.shape[2]}"
        )
    if value is not None and value.first > 0:
        raise ExportRefused(ahead(value, tracer))
    states = list(hx) if kind == "lstm" else [hx]
    weights = [weights[i : i + len(weights) // layers] for i in range(0, len(weights), len(weights) // layers)]
    projected = kind == "lstm" and len(weights[0]) in (3, 5)
    first = value is not None and value.first == 0 and value.steps == tracer.steps
    taken_whole = (
        tracer.whole
        and kind in GATE_ORDER
        and not projected
        and value is not None
        and first
        and value.axes[:2] == ((("B",), ("T",)) if batch_first else (("T",), ("B",)))
        and all(_is_fixed(tracer, state) for state in states)
        and all(tracer.known(w) is None for layer in weights for w in layer)
    )
    if not taken_whole:
        return _by_steps(tracer, kind, x, states, weights, bias=bias, batch_first=batch_first)
    assert value is not None
    with _disable_current_modes():
        result = func(*args)
    _whole(tracer, kind, value, states, weights, call, bias=bias, result=result)
    return result


FUNCTIONS.update(dict.fromkeys(KINDS, recurrent))


def _is_fixed(tracer: Tracer, state: Tensor) -> bool:
    value = tracer.value(state)
    return value is None or value.node in tracer.rows


def _whole(
    tracer: Tracer,
    kind: str,
    value: Value,
    states: Sequence[Tensor],
    weights: Sequence[Sequence[Tensor]],
    call: int,
    *,
    bias: bool,
    result: Sequence[Tensor],
) -> None:
    """One node a layer, fed by the one before it."""
    node, ends = value.node, []
    prefix = tracer.path or type(tracer.module).__name__.lower()
    for layer, parameters in enumerate(weights):
        arrays = onnx_weights(kind, parameters, bias=bias)
        first = [_first_row(tracer, state, layer) for state in states]
        width = parameters[1].shape[1]
        node = tracer.table.make(
            "Recurrent",
            [node, *(tracer.table.const(array) for array in arrays), *first],
            shape=(width,),
            dtype="float32",
            of=kind.upper(),
            call=call,
        )
        tracer.names[node] = f"{prefix}.{layer}" if len(weights) > 1 else prefix
        tracer.recurrences[node] = Recurrence(call, kind, layer)
        ends.append(node)
    axes = (*value.axes[:2], node.shape)
    tracer.know(result[0], made(tracer, replace(value, axes=axes), node, result[0]))
    for which, last in enumerate(result[1:]):
        rows = [_end(tracer, node, cell=which == 1) for node in ends]
        shape = (len(rows), *rows[0].shape[1:])
        joined = rows[0] if len(rows) == 1 else tracer.table.make("Concat", rows, shape=shape, dtype="float32", axis=-2)
        tracer.states.add(joined)
        stacked = Value(joined, ((len(rows),), ("B",), (shape[1],)), last)
        tracer.know(last, made(tracer, stacked, joined, last))


def _end(tracer: Tracer, node: Node, *, cell: bool) -> Node:
    """The last state of a layer: its output at the last step, or for the LSTM's cell what follows it."""
    if cell:
        node = tracer.table.make("Cell", [node], shape=node.shape, dtype=node.dtype)
    return reshaped(tracer, tracer.table.at(node, tracer.steps - 1), (1, *node.shape))


def _first_row(tracer: Tracer, state: Tensor, layer: int) -> Node:
    """The first state of a layer: ``[1, width]``, the same for every stream."""
    value = tracer.value(state)
    if value is not None:
        return tracer.table.const(tracer.rows[value.node][layer : layer + 1])
    return const_rows(tracer, state[layer : layer + 1], [(1,), ("B",), (state.shape[-1],)], tracer.steps)


def onnx_weights(kind: str, parameters: Sequence[Tensor], *, bias: bool) -> list[np.ndarray]:
    """ONNX's ``W[1, gates * hidden, input]``, ``R[1, gates * hidden, hidden]``, ``B[1, 2 * gates * hidden]``.

    ONNX stacks gates as i, o, f, c (LSTM) and z, r, h (GRU) where torch has i, f, g, o and r, z, n.
    """
    order = GATE_ORDER[kind]

    def sorted_blocks(tensor: Tensor) -> np.ndarray:
        blocks = np.split(tensor.detach().numpy(), len(order))
        return np.concatenate([blocks[i] for i in order])

    offsets = [sorted_blocks(tensor) for tensor in parameters[2:4]]
    both = np.concatenate(offsets) if bias else np.zeros(2 * parameters[1].shape[0], np.float32)
    return [sorted_blocks(parameters[0])[None], sorted_blocks(parameters[1])[None], both[None]]


def _by_steps(
    tracer: Tracer,
    kind: str,
    x: Tensor,
    states: Sequence[Tensor],
    weights: Sequence[Sequence[Tensor]],
    *,
    bias: bool,
    batch_first: bool,
) -> Any:
    """The same computed one step after the other, which is followed like any loop."""
    sequence = list((x.transpose(0, 1) if batch_first else x).unbind(0))
    prefix = tracer.path or type(tracer.module).__name__.lower()
    ends: list[list[Tensor]] = []
    for layer, parameters in enumerate(weights):
        name = f"{prefix}.{layer}" if len(weights) > 1 else prefix
        current = [state[layer] for state in states]
        for step, row in enumerate(sequence):
            current = _CELLS[kind](row, current, parameters, bias)
            sequence[step] = current[0]
            for what, tensor in zip("hc", current, strict=False):
                value = tracer.value(tensor)
                if value is not None:
                    tracer.names.setdefault(value.node, f"{name}.{what}")
        ends.append(current)
    y = torch.stack(sequence, 1 if batch_first else 0)
    last = [torch.stack(list(parts)) for parts in zip(*ends, strict=True)]
    for tensor in last:
        value = tracer.value(tensor)
        if value is not None:
            tracer.states.add(value.node)
    return (y, *last)


def _gates(row: Tensor, h: Tensor, parameters: Sequence[Tensor], bias: bool) -> tuple[Tensor, Tensor]:
    driven, fed = row @ parameters[0].t(), h @ parameters[1].t()
    return (driven + parameters[2], fed + parameters[3]) if bias else (driven, fed)


def _lstm(row: Tensor, current: list[Tensor], parameters: Sequence[Tensor], bias: bool) -> list[Tensor]:
    h, c = current
    driven, fed = _gates(row, h, parameters, bias)
    i, f, g, o = (driven + fed).chunk(4, -1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    h = torch.sigmoid(o) * torch.tanh(c)
    return [h @ parameters[-1].t() if len(parameters) in (3, 5) else h, c]


def _gru(row: Tensor, current: list[Tensor], parameters: Sequence[Tensor], bias: bool) -> list[Tensor]:
    (h,) = current
    driven, fed = (gates.chunk(3, -1) for gates in _gates(row, h, parameters, bias))
    r, z = torch.sigmoid(driven[0] + fed[0]), torch.sigmoid(driven[1] + fed[1])
    n = torch.tanh(driven[2] + r * fed[2])
    return [(h - n) * z + n]


def _elman(function: Any) -> Any:
    def cell(row: Tensor, current: list[Tensor], parameters: Sequence[Tensor], bias: bool) -> list[Tensor]:
        driven, fed = _gates(row, current[0], parameters, bias)
        return [function(driven + fed)]

    return cell


_CELLS = {"lstm": _lstm, "gru": _gru, "rnn_tanh": _elman(torch.tanh), "rnn_relu": _elman(torch.relu)}


@rule("_pack_padded_sequence", "_pad_packed_sequence")
def packed(tracer: Tracer, _: Any) -> Any:
    """Not exported: lengths belong to whole sequences."""
    raise tracer.refuse(
        "packs sequences by length; a stream has no length: give the layers the padded sequence as it is"
    )
