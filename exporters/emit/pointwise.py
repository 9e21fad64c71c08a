"""Modules that treat every step alike: linear, embedding, normalisation, activations, scaler, dropout."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from torch import Tensor, nn

from edge_rnn.contract.errors import ExportRefused
from edge_rnn.models.dropout import LockedDropout
from edge_rnn.models.scaler import Scaler
from exporters.emit.registry import Emission, Value, describe, emits, path_of

OPERATORS: dict[type[nn.Module], str] = {nn.ReLU: "Relu", nn.Tanh: "Tanh", nn.Sigmoid: "Sigmoid"}


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


@emits(nn.Embedding)
def emit_embedding(emission: Emission, module: nn.Embedding, path: str, value: Value) -> Value:
    """Rows of the table by number; the value gains a feature axis."""
    if not np.issubdtype(np.dtype(value.dtype), np.integer):
        raise ExportRefused(
            f"{describe(module, path)} takes whole numbers, but gets {value.dtype};"
            " give the input as e.g. --input tokens:int64:batch,time"
        )
    if module.max_norm is not None:
        raise ExportRefused(f"{describe(module, path)} has max_norm, which changes its table; train it without")
    path = path_of(module, path)
    name = emission.graph.op("Gather", [emission.weight(module.weight, f"{path}.weight"), value.name], hint=path)
    shape = (*value.shape, module.embedding_dim)
    return replace(value, name=name, axes=(*value.axes, "feature"), shape=shape, dtype="float32")


@emits(nn.LayerNorm)
def emit_layer_norm(emission: Emission, module: nn.LayerNorm, path: str, value: Value) -> Value:
    """Normalisation over the last axis (Ba et al., 2016)."""
    if len(module.normalized_shape) != 1:
        raise ExportRefused(
            f"{describe(module, path)} normalises over {list(module.normalized_shape)}, expected the last axis only"
        )
    _check_width(module, path, value, module.normalized_shape[0])
    path = path_of(module, path)
    ones, zeros = np.ones(value.width, np.float32), np.zeros(value.width, np.float32)
    inputs = [value.name]
    for what, tensor, default in (("weight", module.weight, ones), ("bias", module.bias, zeros)):
        given: Tensor | None = tensor
        name = f"{path}.{what}"
        inputs.append(emission.graph.constant(default, name) if given is None else emission.weight(given, name))
    return replace(value, name=emission.graph.op("LayerNormalization", inputs, hint=path, axis=-1, epsilon=module.eps))


@emits(*OPERATORS)
def emit_activation(emission: Emission, module: nn.Module, path: str, value: Value) -> Value:
    """An elementwise function."""
    operator = OPERATORS[type(module)]
    return replace(value, name=emission.graph.op(operator, [value.name], hint=path_of(module, path)))


@emits(nn.Identity, nn.Dropout, LockedDropout)
def emit_nothing(_: Emission, __: nn.Module, ___: str, value: Value) -> Value:
    """Nothing: the module does nothing in inference."""
    return value


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
