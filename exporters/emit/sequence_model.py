"""The `SequenceModel` that recipes train."""

from __future__ import annotations

from edge_rnn.models.sequence import SequenceModel
from exporters.emit.registry import Emission, Value, emit, emits


@emits(SequenceModel)
def emit_sequence_model(emission: Emission, module: SequenceModel, path: str, value: Value) -> Value:
    """Scaler, layers, head, output scaler; states are named as the model names them, ``rnn.N.h``."""
    prefix = f"{path}." if path else ""
    value = emit(emission, module.scaler, f"{prefix}scaler", value)
    for index, layer in enumerate(module.layers):
        value = emit(emission, layer, f"{prefix}rnn.{index}", value)
    value = emit(emission, module.head, f"{prefix}head", value)
    if module.output_scaler is not None:
        value = emit(emission, module.output_scaler, f"{prefix}output_scaler", value)
    return value
