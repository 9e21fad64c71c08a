"""Our `JordanLayer`: ``h_t = f(W x_t + b + U y_{t-1})``, ``y_t = V h_t + c``."""

from __future__ import annotations

from edge_rnn.models.jordan import JordanLayer
from exporters.emit.layout import to_time_first
from exporters.emit.pointwise import emit_affine
from exporters.emit.recurrence import ACTIVATIONS, emit_recurrence
from exporters.emit.registry import Emission, Value, emits, path_of
from exporters.graph import GraphBuilder


@emits(JordanLayer)
def emit_jordan(emission: Emission, module: JordanLayer, path: str, value: Value) -> Value:
    """One layer; state ``PATH.y``."""
    value = to_time_first(emission, module, path, value, batch_first=False, width=module.input_size)
    path = path_of(module, path)
    driven = emit_affine(emission, value, module.weight_ih, module.bias_h, f"{path}.drive")
    feedback = emission.weight(module.weight_yh.T, f"{path}.U")
    readout = emission.weight(module.weight_hy.T, f"{path}.V")
    offset = emission.weight(module.bias_y, f"{path}.c")

    def step(body: GraphBuilder, drive: str, last: str, hint: str) -> str:
        total = body.op("Add", [drive, body.op("MatMul", [last, feedback], hint=hint)], hint=hint)
        hidden = body.op(ACTIVATIONS[module.activation], [total], hint=hint)
        return body.op("Add", [body.op("MatMul", [hidden, readout], hint=hint), offset], hint=hint)

    return emit_recurrence(
        emission,
        driven,
        state=f"{path}.y",
        width=module.output_size,
        module=module,
        read=lambda returned: returned[1],
        step=step,
    )
