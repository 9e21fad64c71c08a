"""LSTM and GRU taken apart: ONNX Runtime has no statically quantised recurrent operator.

The products with the input are made for all steps at once; a Scan over time makes those with the
state. Both count in the same steps, a size for each gate of each unit, so that they are added as they are
and scaled once. Equations and gate orders are those of the ONNX operators (LSTM: i o f c; GRU: z r h).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper

from exporters.foreign.flow import attribute_of
from exporters.precision.quantise import (
    Additions,
    Quantised,
    activation_scale,
    integer_sums,
    needed_scales,
    quantised_rows,
)

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


def take_apart(
    node: NodeProto, weights: Weights, largest: tuple[float, float], bits: int, *, one_step: bool = False
) -> Additions:
    """The nodes that take a recurrent node's place. ``largest``: the largest absolute input and state.

    ``one_step``: for calls of one step only, without a Scan around the products with the state.
    """
    to = Additions(f"{node.output[0] or node.output[1]}/int8")
    cell = _Cell(node, weights, largest, bits)
    rows = quantised_rows(to, node.input[0], largest[0], "x")
    shares = [integer_sums(to, rows, cell.input_weights, "x", cell.outer_bias / cell.steps)]
    if len(cell.shares) > 1:
        hidden = weights.r.shape[0]
        to.op("Split", [shares[0], _sizes(to, 2 * hidden, hidden)], cell.shares, axis=-1)
        shares = [f"{to.prefix}/{name}" for name in cell.shares]
    given = dict(enumerate(node.output))
    names = [given.get(place) or f"{to.prefix}/out.{place}" for place in (*range(1, len(cell.states) + 1), 0)]
    states = node.input[5 : 5 + len(cell.states)]
    if one_step:
        step, new = cell.step(f"{to.prefix}/step", [*states, *shares])
        to.nodes += step.nodes
        to.weights += step.weights
        to.nodes += [helper.make_node("Identity", [value], [name]) for value, name in zip(new, names[:-1], strict=True)]
        to.nodes.append(helper.make_node("Unsqueeze", [new[0], to.weight(np.array([0]), "axes.0")], [names[-1]]))
        return to
    to.nodes.append(
        helper.make_node(
            "Scan",
            [*states, *shares],
            names,
            name=f"{to.prefix}/Scan",
            body=cell.body(f"{to.prefix}/step"),
            num_scan_inputs=len(shares),
        )
    )
    return to


@dataclass(frozen=True)
class _Cell:
    """One step of a node. States are ``[1, batch, hidden]`` as the operator has them, shares of the input ``[batch, gates]``
    in `steps`. ``largest``: the largest absolute input and state.

    The weights stand in the body: each one that came in from outside was seen to cost every step time.
    """

    node: NodeProto
    weights: Weights
    largest: tuple[float, float]
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

    @cached_property
    def steps(self) -> np.ndarray:
        """The size of a step of each gate's sums, float32[gates]: the least that serves input and state alike."""
        parts = zip((self.weights.w, self.weights.r), self.largest, strict=True)
        needed = np.maximum(*(needed_scales(part, self.bits) * activation_scale(largest) for part, largest in parts))
        return np.where(needed > 0, needed, 1.0).astype(np.float32)

    @property
    def input_weights(self) -> np.ndarray:
        """s8 ``[in, gates]``."""
        return Quantised.of(self.weights.w, self.bits, self.steps / activation_scale(self.largest[0])).values

    @cached_property
    def state_weights(self) -> np.ndarray:
        """s8 ``[hidden, gates]``."""
        return Quantised.of(self.weights.r, self.bits, self.steps / activation_scale(self.largest[1])).values

    def body(self, prefix: str) -> onnx.GraphProto:
        """One step as the body of a Scan."""
        names = [f"{prefix}/{name}" for name in (*self.states, *self.shares)]
        step, new = self.step(prefix, names)
        outputs = [*new, step.op("Identity", [new[0]], "y")]
        inputs, results = (
            [helper.make_tensor_value_info(each, TensorProto.FLOAT, None) for each in each_of]
            for each_of in (names, outputs)
        )
        return helper.make_graph(step.nodes, "step", inputs, results, step.weights)

    def step(self, prefix: str, names: list[str]) -> tuple[Additions, list[str]]:
        """One step from states and shares of these names: its nodes and weights, and the new states' names."""
        step = Additions(prefix)
        return step, self._lstm(step, *names) if self.node.op_type == "LSTM" else self._gru(step, *names)

    def _lstm(self, step: Additions, h: str, c: str, x: str) -> list[str]:
        """c' = f c + i g, h' = o tanh(c')."""
        hidden = self.weights.r.shape[0]
        sums = step.op("Add", [self._sums(step, h, self.state_weights), x], "gates.sums")
        gates = self._scaled(step, sums, slice(None), "gates")
        step.op("Split", [gates, _sizes(step, 3 * hidden, hidden)], ["iof", "g"], axis=-1)
        open_, new = step.op("Sigmoid", [f"{step.prefix}/iof"], "open"), step.op("Tanh", [f"{step.prefix}/g"], "new")
        i = step.op("Split", [open_, _sizes(step, hidden, hidden, hidden)], ["i", "o", "f"], axis=-1)
        kept, added = step.op("Mul", [f"{step.prefix}/f", c], "kept"), step.op("Mul", [i, new], "added")
        c_next = step.op("Add", [kept, added], "c.next")
        return [step.op("Mul", [f"{step.prefix}/o", step.op("Tanh", [c_next], "c.tanh")], "h.next"), c_next]

    def _gru(self, step: Additions, h: str, x_zr: str, x_n: str) -> list[str]:
        """h' = n + z (h - n), n = tanh(x + r (R h + b)), or tanh(x + R (r h)) where reset comes before the product."""
        hidden, r, rb = self.weights.r.shape[0], self.state_weights, self.weights.rb
        zr = 2 * hidden
        late = np.concatenate([np.zeros(zr, np.float32), rb[zr:] / self.steps[zr:]]) if self.resets_product else None
        h_zr = self._sums(step, h, r if self.resets_product else r[:, :zr], bias=late)
        if self.resets_product:
            h_zr = step.op("Split", [h_zr, _sizes(step, zr, hidden)], ["h.zr", "h.n"], axis=-1)
        sums = step.op("Add", [x_zr, h_zr], "zr.sums")
        open_ = step.op("Sigmoid", [self._scaled(step, sums, slice(zr), "zr")], "open")
        z = step.op("Split", [open_, _sizes(step, hidden, hidden)], ["z", "r"], axis=-1)
        if self.resets_product:
            reset = step.op("Mul", [f"{step.prefix}/r", f"{step.prefix}/h.n"], "reset")
        else:
            reset = self._sums(step, step.op("Mul", [f"{step.prefix}/r", h], "reset.h"), r[:, zr:], "again")
        sums = step.op("Add", [x_n, reset], "n.sums")
        new = step.op("Tanh", [self._scaled(step, sums, slice(zr, None), "n")], "n.gate")
        turn = step.op("Mul", [z, step.op("Sub", [h, new], "away")], "turn")
        return [step.op("Add", [new, turn], "h.next")]

    def _sums(self, step: Additions, h: str, r: np.ndarray, name: str = "h", bias: np.ndarray | None = None) -> str:
        return integer_sums(step, quantised_rows(step, h, self.largest[1], name), r, name, bias)

    def _scaled(self, step: Additions, sums: str, gates: slice, name: str) -> str:
        """Sums of some gates in their own units."""
        return step.op("Mul", [sums, step.weight(self.steps[gates], f"{name}.steps")], name)


def _sizes(step: Additions, *sizes: int) -> str:
    return step.weight(np.array(sizes, np.int64), f"sizes.{'.'.join(map(str, sizes))}")
