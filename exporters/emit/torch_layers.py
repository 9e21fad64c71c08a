"""What torch's recurrent modules share: stacked layers, either axis order, and what no step graph can have."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from edge_rnn.contract.errors import ExportRefused
from exporters.emit.layout import from_time_first, to_time_first
from exporters.emit.registry import Emission, Value, describe, path_of

LayerEmitter = Callable[[Emission, nn.RNNBase, str, int, Value], Value]
"""``(emission, module, prefix, layer, sequence) -> sequence``, both ``[time, batch, feature]``."""


def emit_layers(emission: Emission, module: nn.RNNBase, path: str, value: Value, emit_layer: LayerEmitter) -> Value:
    """Emit every layer; names start with ``PATH``, or ``PATH.N`` where several are stacked.

    Raises `ExportRefused` for a bidirectional module and for ``proj_size``.
    """
    if module.bidirectional:
        raise ExportRefused(
            f"{describe(module, path)} is bidirectional: its backward half needs the future, which a stream has not;"
            " train it with bidirectional=False and, to see a little ahead, with targets delayed by some steps"
        )
    if module.proj_size:
        raise ExportRefused(
            f"{describe(module, path)} has proj_size={module.proj_size}, which ONNX's LSTM has not;"
            " train it with proj_size=0 and a nn.Linear behind it"
        )
    sequence = to_time_first(emission, module, path, value, batch_first=module.batch_first, width=module.input_size)
    path = path_of(module, path)
    for layer in range(module.num_layers):
        prefix = f"{path}.{layer}" if module.num_layers > 1 else path
        sequence = emit_layer(emission, module, prefix, layer, sequence)
    return from_time_first(emission, path, sequence, batch_first=module.batch_first)
