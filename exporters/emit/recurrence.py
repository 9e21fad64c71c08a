"""A recurrence ``state = f(driven_t, state)`` as a Scan over time.

The Elman network stands here, too, rather than in ONNX's RNN operator: that of ONNX Runtime 1.31
(CPU, one thread) was seen to give other bits in another batch size at every width tried, and 0.78
million steps/s where this gives 2.4 million (batch 256, hidden 64; 0.40 and 1.56 at 128). One
stream in chunks of 32 is the exception: 0.47 and 0.34 million (hidden 64). What the input
contributes is computed for all steps at once outside the Scan.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor, nn

from exporters.emit.registry import Emission, Value
from exporters.graph import GraphBuilder

ACTIVATIONS = {"tanh": "Tanh", "relu": "Relu", "sigmoid": "Sigmoid"}

StepBody = Callable[[GraphBuilder, str, str, str], str]
"""``(body, driven, state, hint) -> new state``, all ``[batch, width]``, in the body's graph."""


def emit_recurrence(
    emission: Emission,
    driven: Value,
    *,
    state: str,
    width: int,
    module: nn.Module,
    read: Callable[[Any], Tensor],
    step: StepBody,
) -> Value:
    """Scan ``driven`` ``[time, batch, driven]``; the new state of every step is the output ``[time, batch, width]``.

    ``state`` is the full name of the state pair; ``module`` and ``read`` are as in `StateOf`.
    """
    path, graph = state.rpartition(".")[0], emission.graph
    first = emission.state(state, width, module, read)
    body = GraphBuilder()
    last = body.input(f"{path}/last", "float32", ("batch", width))
    drive = body.input(f"{path}/drive", "float32", ("batch", driven.width))
    new = step(body, drive, last, f"{path}/step")
    body.output(f"{path}/new", new, "float32", ("batch", width))
    body.output(f"{path}/y", new, "float32", ("batch", width))

    axis = graph.constant(np.asarray([0], np.int64), f"{path}.layer")
    final, sequence = graph.ops(
        "Scan",
        [graph.op("Squeeze", [first, axis], hint=path), driven.name],
        outputs=("last", "y"),
        hint=path,
        body=body.body(f"{path}.step"),
        num_scan_inputs=1,
    )
    emission.next_state(state, graph.op("Unsqueeze", [final, axis], hint=path))
    return replace(driven, name=sequence, shape=(*driven.shape[:2], width))
