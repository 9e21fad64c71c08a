"""Operations between submodules: sums and products, activations, swapped axes, the last step, zero states."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

import numpy as np
import torch
from torch import fx
from torch.nn import functional

from edge_rnn.contract.errors import ExportRefused
from exporters.emit.layout import swap
from exporters.emit.registry import Emission, Value


class Mark(Enum):
    """What forward computes with but the graph does not need."""

    SIZE = "a size, type or device of the input"
    ZEROS = "a state of zeros"


@dataclass(frozen=True)
class StackedState:
    """The hidden state ``[layer, batch, hidden]`` that a recurrent module returned beside its ``sequence``."""

    sequence: Value
    layers: int


@dataclass(frozen=True)
class LastState:
    """A state that can be returned but not computed with."""

    path: str


BINARY: dict[Any, str] = {
    operator.add: "Add",
    torch.add: "Add",
    operator.sub: "Sub",
    torch.sub: "Sub",
    operator.mul: "Mul",
    torch.mul: "Mul",
    operator.truediv: "Div",
    torch.div: "Div",
}
UNARY: dict[Any, str] = {
    torch.relu: "Relu",
    functional.relu: "Relu",
    "relu": "Relu",
    torch.tanh: "Tanh",
    functional.tanh: "Tanh",
    "tanh": "Tanh",
    torch.sigmoid: "Sigmoid",
    functional.sigmoid: "Sigmoid",
    "sigmoid": "Sigmoid",
}
NORMAL: dict[Any, str] = {
    torch.softmax: "Softmax",
    functional.softmax: "Softmax",
    "softmax": "Softmax",
    functional.log_softmax: "LogSoftmax",
    "log_softmax": "LogSoftmax",
}
UNCHANGED = ("contiguous", "clone", "detach")
SUPPORTED = "+ - * /, relu, tanh, sigmoid, softmax, cat, squeeze(-1), transpose(0, 1), [:, -1], dropout and submodules"


def apply_operation(
    emission: Emission, node: fx.Node, arguments: tuple[Any, ...], named: Mapping[str, Any], module: str
) -> Any:
    """Emit one call of a function or method. Raises `ExportRefused` naming it and what is supported."""
    try:
        result = _apply(emission, node.target, arguments, named, node.name)
    except (IndexError, KeyError, TypeError, ValueError, AttributeError):
        result = None
    if result is None:
        raise ExportRefused(
            f"the operation {node.format_node()!r} of the module {module} cannot be exported; supported are {SUPPORTED}"
        )
    return result


def is_zero_state(value: Any) -> bool:
    """Whether a state handed to a recurrent module is none or zeros."""
    if isinstance(value, (tuple, list)):
        return all(is_zero_state(item) for item in value)
    return value is None or value is Mark.ZEROS


def _apply(emission: Emission, target: Any, arguments: tuple[Any, ...], named: Mapping[str, Any], hint: str) -> Any:
    """The result, or ``None`` where the operation is not known."""
    first = arguments[0] if arguments else None
    if target in (torch.zeros, torch.zeros_like) or target == "new_zeros":
        return Mark.ZEROS
    if first is Mark.ZEROS and target in ("to", "requires_grad_", "detach", "cuda", "cpu", "type_as", "float"):
        return Mark.ZEROS
    if first is Mark.SIZE or (isinstance(first, Value) and target in ("size", "dim")):
        return Mark.SIZE
    if target is getattr:
        return Mark.SIZE if arguments[1] in ("shape", "device", "dtype") else None
    if target is operator.getitem:
        return _take(first, arguments[1])
    if target in BINARY and not named:
        return _combine(emission, BINARY[target], arguments, hint)
    if target in (torch.cat, torch.concat):
        return _join(emission, arguments[0], arguments[1] if len(arguments) > 1 else named.get("dim", 0), hint)
    if isinstance(first, StackedState) and target in ("squeeze", torch.squeeze):
        return _take(first, -1) if first.layers == 1 and arguments[1:] == (0,) else None
    if not isinstance(first, Value):
        return None
    return _transform(emission, target, first, arguments[1:], named=named, hint=hint)


def _transform(
    emission: Emission, target: Any, value: Value, rest: tuple[Any, ...], *, named: Mapping[str, Any], hint: str
) -> Any:
    """One tensor to one tensor."""
    if target in UNARY:
        return replace(value, name=emission.graph.op(UNARY[target], [value.name], hint=hint))
    if target in NORMAL:
        axis = rest[0] if rest else named["dim"]
        if axis not in (-1, _rank(value) - 1) or value.axes[-1] in ("time", "batch"):
            return None
        return replace(value, name=emission.graph.op(NORMAL[target], [value.name], hint=hint, axis=-1))
    if target in UNCHANGED:
        return value
    if target is functional.dropout:
        training = rest[1] if len(rest) > 1 else named.get("training", True)
        return None if training else value
    if target in ("transpose", torch.transpose, "permute", torch.permute):
        return _reorder(emission, target, value, rest, hint)
    if target in ("squeeze", torch.squeeze):
        if rest not in ((-1,), (_rank(value) - 1,)) or value.shape[-1] != 1:
            return None
        axis_name = emission.graph.constant(np.asarray([-1], np.int64), f"{hint}.axis")
        name = emission.graph.op("Squeeze", [value.name, axis_name], hint=hint)
        return replace(value, name=name, axes=value.axes[:-1], shape=value.shape[:-1])
    return None


def _rank(value: Value) -> int:
    """Number of axes that the module sees."""
    return len(value.axes) - value.last_step


def _reorder(emission: Emission, target: Any, value: Value, rest: tuple[Any, ...], hint: str) -> Value | None:
    if value.last_step or set(value.axes[:2]) != {"time", "batch"}:
        return None
    order = rest[0] if len(rest) == 1 and isinstance(rest[0], (tuple, list)) else rest
    if target in ("transpose", torch.transpose):
        return swap(emission, hint, value) if set(order) == {0, 1} and len(value.axes) == 3 else None
    return swap(emission, hint, value) if tuple(order) == (1, 0, 2) else None


def _take(value: Any, index: Any) -> Any:
    """``value[index]``: of a tuple, the last layer of a hidden state, or the last step of a sequence."""
    if isinstance(value, (tuple, list)):
        return value[index]
    if isinstance(value, StackedState):
        sequence = value.sequence
        return replace(sequence, last_step=True) if index == -1 and not sequence.last_step else None
    if not isinstance(value, Value) or value.last_step:
        return None
    parts = list(index) if isinstance(index, tuple) else [index]
    if Ellipsis in parts:
        at = parts.index(Ellipsis)
        parts[at : at + 1] = [slice(None)] * (len(value.axes) - len(parts) + 1)
    parts += [slice(None)] * (len(value.axes) - len(parts))
    wanted = [-1 if role == "time" else slice(None) for role in value.axes]
    return replace(value, last_step=True) if parts == wanted else None


def _combine(emission: Emission, kind: str, arguments: tuple[Any, ...], hint: str) -> Value | None:
    """Two tensors of one layout, or a tensor and a number or a vector along its last axis."""
    tensors = [value for value in arguments if isinstance(value, Value)]
    like = tensors[0]
    if like.dtype != "float32":
        return None
    if any(
        (v.axes, v.shape, v.last_step, v.dtype) != (like.axes, like.shape, like.last_step, like.dtype) for v in tensors
    ):
        return None
    names = []
    for value in arguments:
        if isinstance(value, Value):
            names.append(value.name)
            continue
        array = np.asarray(value, like.dtype)
        if array.ndim > 1 or (array.ndim == 1 and array.shape[0] not in (1, like.shape[-1])):
            return None
        names.append(emission.graph.constant(array, f"{hint}.value"))
    return replace(like, name=emission.graph.op(kind, names, hint=hint))


def _join(emission: Emission, values: Any, axis: Any, hint: str) -> Value | None:
    """Several tensors side by side along their last axis."""
    like: Value = values[0]
    same = all(
        (v.axes, v.shape[:-1], v.last_step, v.dtype) == (like.axes, like.shape[:-1], like.last_step, like.dtype)
        for v in values
    )
    if not same or axis not in (-1, _rank(like) - 1) or like.axes[-1] in ("time", "batch"):
        return None
    name = emission.graph.op("Concat", [v.name for v in values], hint=hint, axis=-1)
    return replace(like, name=name, shape=(*like.shape[:-1], sum(v.width for v in values)))
