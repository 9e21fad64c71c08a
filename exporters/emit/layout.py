"""Time first: recurrent operators of ONNX take ``[time, batch, feature]`` whatever the module takes."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from edge_rnn.contract.errors import ExportRefused
from exporters.emit.registry import Emission, Value, describe

TIME_FIRST = ("time", "batch")
BATCH_FIRST = ("batch", "time")


def to_time_first(
    emission: Emission, module: nn.Module, path: str, value: Value, *, batch_first: bool, width: int
) -> Value:
    """The value as ``[time, batch, feature]``.

    Raises `ExportRefused` when what flows in is not what the module takes.
    """
    expected = BATCH_FIRST if batch_first else TIME_FIRST
    if value.axes[:2] != expected or len(value.axes) != 3 or value.width != width:
        found = ",".join(str(dim) for dim in value.shape)
        raise ExportRefused(
            f"{describe(module, path)} takes {','.join(expected)},{width}, but gets {found};"
            f" say how the module's input is laid out, e.g. --input x:float32:{','.join(expected)},{width}"
        )
    return swap(emission, path, value) if batch_first else value


def from_time_first(emission: Emission, path: str, value: Value, *, batch_first: bool) -> Value:
    """``[time, batch, feature]`` back to the module's own order."""
    return swap(emission, path, value) if batch_first else value


def swap(emission: Emission, path: str, value: Value) -> Value:
    """Exchange the first two axes."""
    name = emission.graph.op("Transpose", [value.name], hint=path, perm=[1, 0, 2])
    axes = (value.axes[1], value.axes[0], *value.axes[2:])
    return replace(value, name=name, axes=axes, shape=(value.shape[1], value.shape[0], *value.shape[2:]))
