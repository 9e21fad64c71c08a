"""Entries chosen by number: embeddings, indices, the largest, one of many."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor

from exporters.trace.nodes import Node
from exporters.trace.registry import Call, rule
from exporters.trace.rules.align import cast, made, tensor_of
from exporters.trace.rules.shape import value_of
from exporters.trace.rules.stretch import check_whole, taken
from exporters.trace.tracer import Tracer
from exporters.trace.values import Value, numpy_dtype, sizes_of


@rule("embedding")
def embedding(tracer: Tracer, call: Call) -> Value:
    """Rows of a table by number."""
    if tracer.known(call["weight"]) is not None:
        raise tracer.refuse("looks up a table that depends on the input; make it a parameter")
    return _rows(tracer, tensor_of(call["weight"]), call["indices"], call.result, wraps=False)


def _rows(tracer: Tracer, table: Tensor, indices: Tensor, result: Tensor, *, wraps: bool) -> Value:
    value = tracer.value(indices)
    assert value is not None
    if value.node.is_sequence and not _reads_input(value.node):
        raise tracer.refuse(
            f"looks up the step's number in a table of positions, which ends after {len(table)} steps; a stream does not:"
            " leave it out, or compute it (sine and cosine of the number)"
        )
    axes = (*value.axes, *((size,) for size in table.shape[1:]))
    node = tracer.table.make(
        "Rows",
        [cast(tracer, value.node, "int64"), tracer.table.const(table.detach().numpy())],
        shape=sizes_of(axes),
        dtype=numpy_dtype(table.dtype),
        wraps=wraps,
    )
    return made(tracer, replace(value, axes=axes), node, result)


@rule("index")
def index(tracer: Tracer, call: Call) -> Value:
    """``table[tokens]``, or entries of an axis by constant numbers."""
    indices = call["indices"]
    given = [i for i, item in enumerate(indices) if item is not None]
    first = indices[given[0]]
    if tracer.known(call["self"]) is None and given == [0]:
        return _rows(tracer, tensor_of(call["self"]), first, call.result, wraps=True)
    if len(given) == 1 and tracer.known(first) is None and first.dim() == 1 and first.dtype.is_floating_point is False:
        return _chosen(tracer, value_of(tracer, call), given[0], first, call.result)
    raise tracer.refuse(
        "picks entries by computed numbers, a mask or one length a sequence; a stream has no length: give every step's"
        " result and leave the choice to who reads"
    )


@rule("index_select")
def index_select(tracer: Tracer, call: Call) -> Value:
    """Entries of an axis by constant numbers."""
    if tracer.known(call["self"]) is None and call["dim"] % call["self"].dim() == 0:
        return _rows(tracer, tensor_of(call["self"]), call["index"], call.result, wraps=False)
    if tracer.known(call["index"]) is not None:
        raise tracer.refuse("picks entries of a tensor by computed numbers; use torch.where")
    return _chosen(tracer, value_of(tracer, call), call["dim"], call["index"], call.result)


def _reads_input(root: Node) -> bool:
    waiting, seen = [root], set()
    while waiting:
        node = waiting.pop()
        if node.kind in ("Input", "State"):
            return True
        if node not in seen:
            seen.add(node)
            waiting += node.args
    return False


def _chosen(tracer: Tracer, value: Value, dim: int, numbers: Tensor, result: Tensor) -> Value:
    dim %= len(value.axes)
    if value.axes[dim] == ("T",):
        raise tracer.refuse("picks steps by number; a stream has no last step: give every step's result")
    check_whole(tracer, value.axes[dim])
    size = value.tensor.shape[dim]
    order = [int(number) % size for number in (numbers.nonzero().flatten() if numbers.dtype.itemsize == 0 else numbers)]
    position = sum(isinstance(item, int) for axis in value.axes[:dim] for item in axis)
    axes = (*value.axes[:dim], (len(order),), *value.axes[dim + 1 :])
    return made(tracer, replace(value, axes=axes), taken(tracer, value.node, position, order), result)


@rule("argmax", "argmin")
def argmax(tracer: Tracer, call: Call) -> Value:
    """The number of the largest or smallest entry."""
    value = value_of(tracer, call)
    if call.get("dim") is None:
        raise tracer.refuse("takes argmax over everything, all streams and steps; give it the feature axis")
    return _largest(tracer, value, call["dim"], call["keepdim"], call.name, call.result)


def _largest(tracer: Tracer, value: Value, dim: int, keep: bool, name: str, result: Tensor) -> Value:
    dim %= len(value.axes)
    if "T" in value.axes[dim]:
        raise tracer.refuse(f"takes {name} over time, which needs the whole sequence; take it over features")
    check_whole(tracer, value.axes[dim])
    position = sum(isinstance(item, int) for axis in value.axes[:dim] for item in axis)
    axes = (*value.axes[:dim], *(((1,),) if keep else ()), *value.axes[dim + 1 :])
    node = tracer.table.make(
        "ArgMax" if name == "argmax" else "ArgMin",
        [value.node],
        shape=sizes_of(axes),
        dtype="int64",
        axis=position - len(value.node.shape),
        keepdims=int(keep),
    )
    return made(tracer, replace(value, axes=axes), node, result)


@rule("one_hot")
def one_hot(tracer: Tracer, call: Call) -> Any:
    """A one at the number's place, zeros elsewhere."""
    count = call["num_classes"]
    if count < 0:
        raise tracer.refuse("makes one-hot vectors as wide as the largest number it sees; give num_classes")
    return _rows(tracer, _eye(count, call.result), call["self"], call.result, wraps=False)


def _eye(count: int, like: Tensor) -> Tensor:
    return like.new_tensor(np.eye(count, dtype=np.int64))


@rule("topk", "sort")
def refuse_order(tracer: Tracer, _: Call) -> Any:
    """Not exported: the order of equal numbers differs between engines."""
    raise tracer.refuse("sorts; give the scores and sort them where they are read")
