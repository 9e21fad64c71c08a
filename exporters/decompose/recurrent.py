"""LSTM, GRU and RNN of ONNX for a fixed number of steps, as products and elementwise operators.

The products with the input are one GEMM for the whole chunk; each step adds that with the state and
takes its gates as slices. Equations and gate orders are those of the ONNX operators (LSTM: i o f c;
GRU: z r h).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from onnx import NodeProto

from edge_rnn.contract.errors import ExportRefused
from exporters.decompose.activations import Activation, activations_of
from exporters.foreign.flow import FIRST_INITIAL, RECURRENT, attribute_of, node_name
from exporters.precision.quantise import Additions

FUNCTIONS = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh"), "RNN": ("Tanh",)}
"""The activations where a node names none."""


@dataclass(frozen=True)
class Layer:
    """A recurrent node: ``w`` ``[in, gates]``, ``r`` ``[hidden, gates]``, biases ``wb`` and ``rb`` ``[gates]``.

    ``clip`` bounds what the gates' activations take; ``coupled``: an LSTM forgets what it does not
    take in; ``reset_after``: a GRU's reset gate comes after the product with the state.
    """

    kind: str
    w: np.ndarray
    r: np.ndarray
    wb: np.ndarray
    rb: np.ndarray
    activations: tuple[Activation, ...]
    clip: float | None
    coupled: bool
    reset_after: bool

    @property
    def hidden(self) -> int:
        """Width of the state."""
        return int(self.r.shape[0])


def layer_of(node: NodeProto, kept: Mapping[str, np.ndarray]) -> Layer:
    """What a node computes; ``kept`` holds the graph's constants. Raises `ExportRefused` for what cannot be decomposed."""
    if reason := _why_not(node, kept):
        raise ExportRefused(
            f"node {node_name(node)!r} ({node.op_type}) cannot be decomposed for TensorRT: {reason};"
            " run the bundle on the CPU or with CUDA"
        )
    w, r = (kept[name][0].T for name in node.input[1:3])
    bias = kept[node.input[3]][0] if _has(node, 3) else np.zeros(2 * w.shape[1], w.dtype)
    wb, rb = np.split(bias, 2)
    clip = attribute_of(node, "clip", None)
    return Layer(
        node.op_type,
        w,
        r,
        wb,
        rb,
        tuple(_activations(node)),
        None if clip is None else cast(float, clip),
        bool(attribute_of(node, "input_forget", 0)),
        bool(attribute_of(node, "linear_before_reset", 0)),
    )


def decompose_layer(node: NodeProto, layer: Layer, chunk: int) -> Additions:
    """The nodes that take the place of a recurrent node over ``chunk`` steps; its outputs keep their names.

    ``X`` is ``[chunk, batch, in]``, ``Y`` ``[chunk, 1, batch, hidden]``, states ``[1, batch, hidden]``.
    """
    to = Additions(f"{next(name for name in node.output if name)}/steps")
    rows = _driven(to, node.input[0], layer, chunk)
    states = [_first(to, node, layer, number) for number in range(len(RECURRENT[layer.kind]))]
    hs = []
    for number, row in enumerate(rows):
        step = Additions(f"{to.prefix}.{number}", to.nodes, to.weights, to.prefix)
        states = _STEPS[layer.kind](step, layer, states, row)
        hs.append(states[0])
    first, both = (to.weight(np.array(axes, np.int64), f"axes.{len(axes)}") for axes in ((0,), (0, 1)))
    if node.output[0]:
        parts = [to.op("Unsqueeze", [h, both], f"y.{number}") for number, h in enumerate(hs)]
        _give(to, "Concat", parts, node.output[0], axis=0)
    for name, state in zip(node.output[1:], states, strict=False):
        if name:
            _give(to, "Unsqueeze", [state, first], name)
    return to


def _why_not(node: NodeProto, kept: Mapping[str, np.ndarray]) -> str | None:
    if attribute_of(node, "direction", "forward") != "forward":
        return "it is not forward"
    if attribute_of(node, "layout", 0):
        return "it is batch-major"
    if any(name not in kept for name in node.input[1:3]) or (_has(node, 3) and node.input[3] not in kept):
        return "its weights are not constant"
    if _has(node, 4):
        return "it takes lengths of sequences"
    if _has(node, 7):
        return "it has peepholes"
    try:
        found = _activations(node)
    except ValueError as error:
        return str(error)
    if len(found) != len(FUNCTIONS[node.op_type]):
        return f"it has {len(found)} activations, expected {len(FUNCTIONS[node.op_type])}"
    return None


def _activations(node: NodeProto) -> list[Activation]:
    given = cast(Sequence[bytes | str], attribute_of(node, "activations", FUNCTIONS[node.op_type]))
    names = [name.decode() if isinstance(name, bytes) else name for name in given]
    alphas, betas = (
        cast(Sequence[float], attribute_of(node, f"activation_{which}", ())) for which in ("alpha", "beta")
    )
    return activations_of(names, alphas, betas)


def _has(node: NodeProto, number: int) -> bool:
    return len(node.input) > number and bool(node.input[number])


def _driven(to: Additions, x: str, layer: Layer, chunk: int) -> list[str]:
    """The input's share of the gates, ``[batch, gates]`` a step: one GEMM ``[chunk * batch, in] x [in, gates]``."""
    size, gates = layer.w.shape
    flat = to.op("Reshape", [x, to.weight(np.array([-1, size], np.int64), "rows")], "x")
    product = to.op("MatMul", [flat, to.weight(layer.w, "W")], "x.W")
    driven = to.op("Add", [product, to.weight(_input_bias(layer), "B")], "driven")
    if chunk == 1:
        return [driven]
    shaped = to.op("Reshape", [driven, to.weight(np.array([chunk, -1, gates], np.int64), "steps")], "driven.steps")
    ends = [f"driven.{number}" for number in range(chunk)]
    to.op("Split", [shaped, to.weight(np.ones(chunk, np.int64), "ones")], ends, axis=0)
    axis = to.weight(np.array([0], np.int64), "axes.1")
    return [to.op("Squeeze", [f"{to.prefix}/{end}", axis], f"{end}.row") for end in ends]


def _input_bias(layer: Layer) -> np.ndarray:
    """All of the bias that may be added before the state's product is known."""
    bias: np.ndarray = layer.wb + layer.rb
    if layer.kind == "GRU" and layer.reset_after:
        bias[2 * layer.hidden :] = layer.wb[2 * layer.hidden :]
    return bias


def _first(to: Additions, node: NodeProto, layer: Layer, number: int) -> str:
    """The first value of a state: ``[batch, hidden]``, or ``[1, hidden]`` of zeros where the node has none."""
    if not _has(node, FIRST_INITIAL + number):
        return to.weight(np.zeros((1, layer.hidden), layer.w.dtype), "zeros")
    axis = to.weight(np.array([0], np.int64), "axes.1")
    return to.op("Squeeze", [node.input[FIRST_INITIAL + number], axis], f"first.{number}")


def _lstm(step: Additions, layer: Layer, states: list[str], row: str) -> list[str]:
    """c' = f c + i g, h' = o k(c')."""
    h, c = states
    hidden, (open_, new, last) = layer.hidden, layer.activations
    gates = _clipped(
        step, layer, step.op("Add", [step.op("MatMul", [h, step.weight(layer.r, "R")], "h.R"), row], "gates")
    )
    step.op("Split", [gates, _sizes(step, 3 * hidden, hidden)], ["iof", "c.sum"], axis=-1)
    opened, g = open_.emit(step, f"{step.prefix}/iof", "open"), new.emit(step, f"{step.prefix}/c.sum", "new")
    i = step.op("Split", [opened, _sizes(step, hidden, hidden, hidden)], ["i", "o", "f"], axis=-1)
    f = f"{step.prefix}/f"
    if layer.coupled:
        f = step.op("Sub", [step.weight(np.ones((), layer.w.dtype), "one"), i], "f.coupled")
    c_next = step.op("Add", [step.op("Mul", [f, c], "kept"), step.op("Mul", [i, g], "added")], "c")
    return [step.op("Mul", [f"{step.prefix}/o", last.emit(step, c_next, "c.shown")], "h"), c_next]


def _gru(step: Additions, layer: Layer, states: list[str], row: str) -> list[str]:
    """h' = n + z (h - n), n = g(x + r (R h + b)), or g(x + R (r h) + b) where reset comes before the product."""
    (h,) = states
    hidden, (open_, new) = layer.hidden, layer.activations
    zr = 2 * hidden
    step.op("Split", [row, _sizes(step, zr, hidden)], ["x.zr", "x.n"], axis=-1)
    fed = step.op("MatMul", [h, step.weight(layer.r if layer.reset_after else layer.r[:, :zr], "R")], "h.R")
    if layer.reset_after:
        fed = step.op("Split", [fed, _sizes(step, zr, hidden)], ["h.zr", "h.n"], axis=-1)
    opened = open_.emit(step, _clipped(step, layer, step.op("Add", [f"{step.prefix}/x.zr", fed], "zr.sum")), "zr")
    z = step.op("Split", [opened, _sizes(step, hidden, hidden)], ["z", "r"], axis=-1)
    r = f"{step.prefix}/r"
    if layer.reset_after:
        biased = step.op("Add", [f"{step.prefix}/h.n", step.weight(layer.rb[zr:], "Rb")], "h.n.sum")
        reset = step.op("Mul", [r, biased], "reset")
    else:
        reset = step.op("MatMul", [step.op("Mul", [r, h], "r.h"), step.weight(layer.r[:, zr:], "Rn")], "reset")
    n = new.emit(step, _clipped(step, layer, step.op("Add", [f"{step.prefix}/x.n", reset], "n.sum")), "n")
    return [step.op("Add", [n, step.op("Mul", [z, step.op("Sub", [h, n], "away")], "turn")], "h")]


def _rnn(step: Additions, layer: Layer, states: list[str], row: str) -> list[str]:
    """h' = f(x + R h)."""
    total = step.op("Add", [step.op("MatMul", [states[0], step.weight(layer.r, "R")], "h.R"), row], "sum")
    return [layer.activations[0].emit(step, _clipped(step, layer, total), "h")]


_STEPS = {"LSTM": _lstm, "GRU": _gru, "RNN": _rnn}


def _clipped(step: Additions, layer: Layer, value: str) -> str:
    if layer.clip is None:
        return value
    ends = [step.weight(np.asarray(sign * layer.clip, layer.w.dtype), f"clip.{sign}") for sign in (-1, 1)]
    return step.op("Clip", [value, *ends], f"{value.rpartition('/')[2]}.clip")


def _sizes(step: Additions, *sizes: int) -> str:
    return step.weight(np.array(sizes, np.int64), f"sizes.{'.'.join(map(str, sizes))}")


def _give(to: Additions, kind: str, inputs: Sequence[str], name: str, **attributes: int) -> None:
    """A node whose output has exactly this name."""
    to.op(kind, inputs, "given", **attributes)
    to.nodes[-1].output[0] = name
    to.nodes[-1].name = f"{name}/{kind}"
