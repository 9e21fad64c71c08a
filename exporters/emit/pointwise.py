"""Modules that treat every step alike: linear and scaler."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor, nn

from edge_rnn.contract.errors import ExportRefused
from edge_rnn.models.scaler import Scaler
from exporters.emit.registry import Emission, Value, describe, emits, path_of


def emit_affine(emission: Emission, value: Value, weight: Tensor, bias: Tensor | None, path: str) -> Value:
    """``x W^T + b`` along the last axis; ``weight: float32[outputs, inputs]``."""
    name = emission.graph.op("MatMul", [value.name, emission.weight(weight.T, f"{path}.weight")], hint=path)
    if bias is not None:
        name = emission.graph.op("Add", [name, emission.weight(bias, f"{path}.bias")], hint=path)
    return replace(value, name=name, shape=(*value.shape[:-1], weight.shape[0]))


@emits(nn.Linear)
def emit_linear(emission: Emission, module: nn.Linear, path: str, value: Value) -> Value:
    """A product along the last axis."""
    _check_width(module, path, value, module.in_features)
    return emit_affine(emission, value, module.weight, module.bias, path_of(module, path))


@emits(Scaler)
def emit_scaler(emission: Emission, module: Scaler, path: str, value: Value) -> Value:
    """Standardisation or its inverse, by the module's own operations in their order."""
    path, graph = path_of(module, path), emission.graph
    mean = emission.weight(module.mean, f"{path}.mean")
    std = emission.weight(module.std, f"{path}.std")
    if module.inverse:
        scaled = graph.op("Add", [graph.op("Mul", [value.name, std], hint=path), mean], hint=path)
    else:
        scaled = graph.op("Div", [graph.op("Sub", [value.name, mean], hint=path), std], hint=path)
    return replace(value, name=scaled)


def _check_width(module: nn.Module, path: str, value: Value, expected: int) -> None:
    if not isinstance(value.shape[-1], int) or value.width != expected:
        raise ExportRefused(
            f"{describe(module, path)} takes {expected} numbers a step, but gets {value.shape[-1]};"
            " give the input's width in --input, e.g. x:float32:time,batch,5"
        )
