"""The Elman network, `nn.RNN` and our `ElmanSigmoid`: ``h_t = f(W x_t + b + R h_{t-1})``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from edge_rnn.models.elman import ElmanSigmoid
from exporters.emit.layout import to_time_first
from exporters.emit.pointwise import emit_affine
from exporters.emit.recurrence import ACTIVATIONS, emit_recurrence
from exporters.emit.registry import Emission, Value, emits, path_of
from exporters.emit.torch_layers import emit_layers
from exporters.graph import GraphBuilder


@emits(nn.RNN)
def emit_rnn(emission: Emission, module: nn.RNN, path: str, value: Value) -> Value:
    """All layers of torch's; state ``h``."""
    return emit_layers(emission, module, path, value, _emit_rnn_layer)


@emits(ElmanSigmoid)
def emit_elman_sigmoid(emission: Emission, module: ElmanSigmoid, path: str, value: Value) -> Value:
    """Our one layer; state ``PATH.h``."""
    value = to_time_first(emission, module, path, value, batch_first=False, width=module.input_size)
    bias = module.bias_ih + module.bias_hh
    driven = emit_affine(emission, value, module.weight_ih, bias, f"{path_of(module, path)}.drive")
    return _emit_recurrence(
        emission, module, path_of(module, path), driven, module.weight_hh, "sigmoid", lambda returned: returned[1]
    )


def _emit_rnn_layer(emission: Emission, module: nn.RNNBase, prefix: str, layer: int, sequence: Value) -> Value:
    def take(name: str) -> Tensor:
        value = getattr(module, f"{name}_l{layer}")
        assert isinstance(value, Tensor)
        return value

    bias = take("bias_ih") + take("bias_hh") if module.bias else None
    driven = emit_affine(emission, sequence, take("weight_ih"), bias, f"{prefix}.drive")
    return _emit_recurrence(
        emission,
        module,
        prefix,
        driven,
        take("weight_hh"),
        str(module.nonlinearity),
        lambda returned: returned[1][layer : layer + 1],
    )


def _emit_recurrence(
    emission: Emission,
    module: nn.Module,
    prefix: str,
    driven: Value,
    weight: Tensor,
    activation: str,
    read: Callable[[Any], Tensor],
) -> Value:
    recurrent = emission.weight(weight.T, f"{prefix}.R")

    def step(body: GraphBuilder, drive: str, last: str, hint: str) -> str:
        total = body.op("Add", [drive, body.op("MatMul", [last, recurrent], hint=hint)], hint=hint)
        return body.op(ACTIVATIONS[activation], [total], hint=hint)

    return emit_recurrence(
        emission, driven, state=f"{prefix}.h", width=weight.shape[0], module=module, read=read, step=step
    )
