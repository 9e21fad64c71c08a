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
    cell = _Cell(node, weights, largest[1], bits)
    rows = quantised_rows(to, node.input[0], largest[0], "x")
    shares = [integer_product(to, rows, Quantised.of(weights.w, bits), largest[0], "x", cell.outer_bias)]
    if len(cell.shares) > 1:
        hidden = weights.r.shape[0]
        to.op("Split", [shares[0], _sizes(to, 2 * hidden, hidden)], cell.shares, axis=-1)
        shares = [f"{to.prefix}/{name}" for name in cell.shares]
    given = dict(enumerate(node.output))
    names = [given.get(place) or f"{to.prefix}/out.{place}" for place in (*range(1, len(cell.states) + 1), 0)]
    to.nodes.append(
        helper.make_node(
            "Scan",
            [*node.input[5 : 5 + len(cell.states)], *shares],
            names,
            name=f"{to.prefix}/Scan",
            body=cell.body(f"{to.prefix}/step"),
            num_scan_inputs=len(shares),
        )
    )
    return to


@dataclass(frozen=True)
class _Cell:
    """One step of a node. States are ``[1, batch, hidden]`` as the operator has them, shares of the input ``[batch, gates]``.

    The weights stand in the body: each one that came in from outside was seen to cost every step time.
    """

    node: NodeProto
    weights: Weights
    largest: float
    bits: int

    @property
    def states(self) -> tuple[str, ...]:
        """The states' names."""
        return ("h", "c") if self.node.op_type == "LSTM" else ("h",)

    @property
    def shares(self) -> tuple[str, ...]:
        """The names of the gates' shares of the input."""
        return ("x",) if self.node.op_type == "LSTM" else ("x.zr", "x.n")

    @property
    def resets_product(self) -> bool:
        """Whether a GRU's reset gate acts on the product with the state, not on the state."""
        return self.node.op_type == "GRU" and bool(attribute_of(self.node, "linear_before_reset", 0))

    @property
    def outer_bias(self) -> np.ndarray:
        """What is added once for all steps: both biases, but for the one that a reset gate acts on."""
        inner = self.weights.rb.copy()
        if self.resets_product:
            inner[2 * self.weights.r.shape[0] :] = 0
        return np.asarray(self.weights.wb + inner)

    def body(self, prefix: str) -> onnx.GraphProto:
        """One step as the body of a Scan."""
        step = Additions(prefix)
        names = [f"{prefix}/{name}" for name in (*self.states, *self.shares)]
        new = self._lstm(step, *names) if self.node.op_type == "LSTM" else self._gru(step, *names)
        outputs = [*new, step.op("Identity", [new[0]], "y")]
        inputs, results = (
            [helper.make_tensor_value_info(each, TensorProto.FLOAT, None) for each in each_of]
            for each_of in (names, outputs)
        )
        return helper.make_graph(step.nodes, "step", inputs, results, step.weights)

    def _lstm(self, step: Additions, h: str, c: str, x: str) -> list[str]:
        """c' = f c + i g, h' = o tanh(c')."""
        hidden = self.weights.r.shape[0]
        gates = step.op("Add", [self._product(step, h, self.weights.r), x], "gates")
        step.op("Split", [gates, _sizes(step, 3 * hidden, hidden)], ["iof", "g"], axis=-1)
        open_, new = step.op("Sigmoid", [f"{step.prefix}/iof"], "open"), step.op("Tanh", [f"{step.prefix}/g"], "new")
        i = step.op("Split", [open_, _sizes(step, hidden, hidden, hidden)], ["i", "o", "f"], axis=-1)
        kept, added = step.op("Mul", [f"{step.prefix}/f", c], "kept"), step.op("Mul", [i, new], "added")
        c_next = step.op("Add", [kept, added], "c.next")
        return [step.op("Mul", [f"{step.prefix}/o", step.op("Tanh", [c_next], "c.tanh")], "h.next"), c_next]

    def _gru(self, step: Additions, h: str, x_zr: str, x_n: str) -> list[str]:
        """h' = n + z (h - n), n = tanh(x + r (R h + b)), or tanh(x + R (r h)) where reset comes before the product."""
        hidden, r, rb = self.weights.r.shape[0], self.weights.r, self.weights.rb
        zr = 2 * hidden
        h_zr = self._product(step, h, r if self.resets_product else r[:, :zr])
        if self.resets_product:
            h_zr = step.op("Split", [h_zr, _sizes(step, zr, hidden)], ["h.zr", "h.n"], axis=-1)
        open_ = step.op("Sigmoid", [step.op("Add", [x_zr, h_zr], "zr")], "open")
        z = step.op("Split", [open_, _sizes(step, hidden, hidden)], ["z", "r"], axis=-1)
        if self.resets_product:
            h_n = step.op("Add", [f"{step.prefix}/h.n", step.weight(rb[zr:], "bias")], "h.sum")
            reset = step.op("Mul", [f"{step.prefix}/r", h_n], "reset")
        else:
            reset = self._product(step, step.op("Mul", [f"{step.prefix}/r", h], "reset.h"), r[:, zr:], "again")
        new = step.op("Tanh", [step.op("Add", [x_n, reset], "n.sum")], "n.gate")
        turn = step.op("Mul", [z, step.op("Sub", [h, new], "away")], "turn")
        return [step.op("Add", [new, turn], "h.next")]

    def _product(self, step: Additions, h: str, r: np.ndarray, name: str = "h") -> str:
        rows = quantised_rows(step, h, self.largest, name)
        return integer_step(step, rows, Quantised.of(r, self.bits), self.largest, name)


def _sizes(step: Additions, *sizes: int) -> str:
    return step.weight(np.array(sizes, np.int64), f"sizes.{'.'.join(map(str, sizes))}")
