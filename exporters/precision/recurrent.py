"""LSTM and GRU taken apart: ONNX Runtime has no statically quantised recurrent operator.

The products with the input are made for all steps at once; a Scan over time makes those with the
state. Equations and gate orders are those of the ONNX operators (LSTM: i o f c; GRU: z r h).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper

from exporters.foreign.flow import attribute_of
from exporters.precision.quantise import Additions, Quantised, integer_product, integer_step, quantised_rows

GATES = {"LSTM": 4, "GRU": 3}


@dataclass(frozen=True)
class Weights:
    """``w`` ``[in, gates]``, ``r`` ``[hidden, gates]``, biases ``wb`` and ``rb`` ``[gates]``."""

    w: np.ndarray
    r: np.ndarray
    wb: np.ndarray
    rb: np.ndarray


def why_not(node: NodeProto, weights: dict[str, np.ndarray]) -> str | None:
    """Why a recurrent node stays as it is; ``None`` where it can be taken apart."""
    if attribute_of(node, "direction", "forward") != "forward" or attribute_of(node, "layout", 0):
        return "it is not forward and time-major"
    if attribute_of(node, "activations", None) is not None and attribute_of(node, "activations", None) not in (
        [b"Sigmoid", b"Tanh", b"Tanh"],
        [b"Sigmoid", b"Tanh"],
    ):
        return "its activations are not sigmoid and tanh"
    if attribute_of(node, "clip", None) is not None or attribute_of(node, "input_forget", 0):
        return "it clips, or couples its gates"
    given = list(node.input)
    if any(name not in weights for name in given[1:3]) or (len(given) > 3 and given[3] and given[3] not in weights):
        return "its weights are not constant"
    if len(given) > 4 and given[4]:
        return "it takes lengths of sequences"
    if len(given) > 7 and given[7]:
        return "it has peepholes"
    if len(given) <= 5 or not given[5] or (node.op_type == "LSTM" and (len(given) <= 6 or not given[6])):
        return "its first state is not given"
    return None


def weights_of(node: NodeProto, kept: dict[str, np.ndarray]) -> Weights:
    """A node's weights, one direction."""
    w, r = kept[node.input[1]][0].T, kept[node.input[2]][0].T
    bias = kept[node.input[3]][0] if len(node.input) > 3 and node.input[3] else np.zeros(2 * w.shape[1], np.float32)
    wb, rb = np.split(bias, 2)
    return Weights(w, r, wb, rb)


def take_apart(node: NodeProto, weights: Weights, largest: tuple[float, float], bits: int) -> Additions:
    """The nodes that take a recurrent node's place. ``largest``: the largest absolute input and state."""
    to = Additions(f"{node.output[0] or node.output[1]}/int8")
    rows = quantised_rows(to, node.input[0], largest[0], "x")
    is_lstm = node.op_type == "LSTM"
    bias = weights.wb + weights.rb if is_lstm else weights.wb
    gates = integer_product(to, rows, Quantised.of(weights.w, bits), largest[0], "x", bias)
    states = list(node.input[5:7] if is_lstm else node.input[5:6])
    cell = _Cell(node, weights, largest[1], bits)
    zero, one = (to.weight(np.array([number], np.int64), name) for number, name in ((0, "axis.0"), (1, "axis.1")))
    given = [to.op("Squeeze", [state, zero], f"{name}.first") for name, state in zip("hc", states, strict=False)]
    lasts = [f"{name}.last" for name in "hc"[: len(states)]]
    to.op("Scan", [*given, gates], [*lasts, "rows"], body=cell.body(to, len(states)), num_scan_inputs=1)
    if node.output[0]:
        to.nodes.append(helper.make_node("Unsqueeze", [f"{to.prefix}/rows", one], [node.output[0]]))
    for number, last in enumerate(lasts):
        if len(node.output) > number + 1 and node.output[number + 1]:
            to.nodes.append(helper.make_node("Unsqueeze", [f"{to.prefix}/{last}", zero], [node.output[number + 1]]))
    return to


@dataclass(frozen=True)
class _Cell:
    """One step of a node, as a body: weights stand in the main graph and are shared."""

    node: NodeProto
    weights: Weights
    largest: float
    bits: int

    def body(self, to: Additions, states: int) -> onnx.GraphProto:
        """One step as the body of a Scan."""
        inner = Additions(f"{to.prefix}/step", weights=to.weights, weights_prefix=to.prefix)
        names = [f"{inner.prefix}/{name}" for name in (*"hc"[:states], "row")]
        new = self.next(inner, names[:-1], names[-1])
        outputs = [*new, inner.op("Identity", [new[0]], "y")]
        inputs, results = (
            [helper.make_tensor_value_info(each, TensorProto.FLOAT, None) for each in each_of]
            for each_of in (names, outputs)
        )
        return helper.make_graph(inner.nodes, "step", inputs, results)

    def next(self, step: Additions, states: list[str], row: str) -> list[str]:
        """The new states from the old and the gates' share of the input, ``[..., batch, gates]``."""
        if self.node.op_type == "LSTM":
            return self._lstm(step, states[0], states[1], row)
        return [self._gru(step, states[0], row)]

    def _lstm(self, step: Additions, h: str, c: str, row: str) -> list[str]:
        """c' = f c + i g, h' = o tanh(c')."""
        hidden = self.weights.r.shape[0]
        gates = step.op("Add", [self._product(step, h, self.weights.r), row], "gates")
        step.op("Split", [gates, _sizes(step, 3 * hidden, hidden)], ["iof", "g"], axis=-1)
        open_, new = step.op("Sigmoid", [f"{step.prefix}/iof"], "open"), step.op("Tanh", [f"{step.prefix}/g"], "new")
        i = step.op("Split", [open_, _sizes(step, hidden, hidden, hidden)], ["i", "o", "f"], axis=-1)
        kept, added = step.op("Mul", [f"{step.prefix}/f", c], "kept"), step.op("Mul", [i, new], "added")
        c_next = step.op("Add", [kept, added], "c.next")
        return [step.op("Mul", [f"{step.prefix}/o", step.op("Tanh", [c_next], "c.tanh")], "h.next"), c_next]

    def _gru(self, step: Additions, h: str, row: str) -> str:
        """h' = n + z (h - n), n = tanh(x + r (R h + b)), or R (r h) + b where reset comes before the product."""
        hidden, r, rb = self.weights.r.shape[0], self.weights.r, self.weights.rb
        zr = 2 * hidden
        after = bool(attribute_of(self.node, "linear_before_reset", 0))
        x_zr = step.op("Split", [row, _sizes(step, zr, hidden)], ["x.zr", "x.n"], axis=-1)
        h_zr = self._product(step, h, r, rb) if after else self._product(step, h, r[:, :zr], rb[:zr])
        if after:
            h_zr = step.op("Split", [h_zr, _sizes(step, zr, hidden)], ["h.zr", "h.n"], axis=-1)
        open_ = step.op("Sigmoid", [step.op("Add", [x_zr, h_zr], "zr")], "open")
        z = step.op("Split", [open_, _sizes(step, hidden, hidden)], ["z", "r"], axis=-1)
        if after:
            reset = step.op("Mul", [f"{step.prefix}/r", f"{step.prefix}/h.n"], "reset")
        else:
            reset = self._product(step, step.op("Mul", [f"{step.prefix}/r", h], "reset.h"), r[:, zr:], rb[zr:], "again")
        new = step.op("Tanh", [step.op("Add", [f"{step.prefix}/x.n", reset], "n.sum")], "n.gate")
        turn = step.op("Mul", [z, step.op("Sub", [h, new], "away")], "turn")
        return step.op("Add", [new, turn], "h.next")

    def _product(self, step: Additions, h: str, r: np.ndarray, bias: np.ndarray | None = None, name: str = "h") -> str:
        rows = quantised_rows(step, h, self.largest, name)
        return integer_step(step, rows, Quantised.of(r, self.bits), self.largest, name, bias)


def _sizes(step: Additions, *sizes: int) -> str:
    return step.weight(np.array(sizes, np.int64), f"sizes.{'.'.join(map(str, sizes))}")
