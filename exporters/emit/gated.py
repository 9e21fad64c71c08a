"""`nn.LSTM` and `nn.GRU` as ONNX's operators of the same names.

ONNX stacks gates as i, o, f, c (LSTM) and z, r, h (GRU) where torch has i, f, g, o and r, z, n;
torch's GRU applies the reset gate after the recurrent product, which is ``linear_before_reset``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor, nn

from exporters.emit.registry import Emission, Value, array_of, emits
from exporters.emit.torch_layers import emit_layers
from exporters.graph import Attribute

GATE_ORDER = {nn.LSTM: (0, 3, 1, 2), nn.GRU: (1, 0, 2)}
"""For each block of ONNX's stacked weights, the number of torch's block."""


@emits(nn.LSTM, nn.GRU)
def emit_gated(emission: Emission, module: nn.RNNBase, path: str, value: Value) -> Value:
    """All layers; states ``h``, and ``c`` for the LSTM."""
    return emit_layers(emission, module, path, value, _emit_layer)


def _emit_layer(emission: Emission, module: nn.RNNBase, prefix: str, layer: int, sequence: Value) -> Value:
    graph, width = emission.graph, module.hidden_size
    kinds = ("h", "c") if isinstance(module, nn.LSTM) else ("h",)
    states = [
        emission.state(f"{prefix}.{kind}", width, module, _reader(len(kinds), which, layer))
        for which, kind in enumerate(kinds)
    ]
    weights = [
        graph.constant(array, f"{prefix}.{what}")
        for what, array in zip(("W", "R", "B"), layer_weights(module, layer), strict=True)
    ]
    attributes: dict[str, Attribute] = {"hidden_size": width}
    if isinstance(module, nn.GRU):
        attributes["linear_before_reset"] = 1
    y, *new = graph.ops(
        type(module).__name__,
        [sequence.name, *weights, "", *states],
        outputs=("y", *kinds),
        hint=prefix,
        **attributes,
    )
    for kind, value in zip(kinds, new, strict=True):
        emission.next_state(f"{prefix}.{kind}", value)
    direction = graph.constant(np.asarray([1], np.int64), f"{prefix}.direction")
    name = graph.op("Squeeze", [y, direction], hint=prefix)  # [time, 1, batch, hidden]: one direction
    return replace(sequence, name=name, shape=(*sequence.shape[:2], width))


def layer_weights(module: nn.RNNBase, layer: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """ONNX's ``W[1, gates * hidden, input]``, ``R[1, gates * hidden, hidden]``, ``B[1, 2 * gates * hidden]``."""
    order = GATE_ORDER[type(module)]

    def take(name: str) -> np.ndarray:
        blocks = np.split(array_of(getattr(module, f"{name}_l{layer}")), len(order))
        return np.concatenate([blocks[i] for i in order])

    if module.bias:
        bias = np.concatenate([take("bias_ih"), take("bias_hh")])
    else:
        bias = np.zeros(2 * len(order) * module.hidden_size, np.float32)
    return take("weight_ih")[None], take("weight_hh")[None], bias[None]


def _reader(count: int, which: int, layer: int) -> Callable[[Any], Tensor]:
    """From what the module returned to this layer's state number ``which`` of ``count``, ``[1, batch, hidden]``."""

    def read(returned: Any) -> Tensor:
        states: Tensor = returned[1] if count == 1 else returned[1][which]
        return states[layer : layer + 1]

    return read
