"""A tensor as the trace knows it: rows of a node, and how its axes lie around them.

An axis is a tuple of items: ``"T"`` (time), ``"B"`` (batch) and sizes. ``("B", "T")`` is both merged
by a view. The sizes of all axes, in order, are the shape of the node's row.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from exporters.trace.nodes import Node

Item = str | int
Axis = tuple[Item, ...]


@dataclass(frozen=True)
class Value:
    """Rows with axes. Of a sequence, index 0 on the time axis is the step ``first``.

    ``first`` is negative behind padding: the rows of steps before 0 hold no input, and ``tensor``,
    the value in the sample run, has them. It is positive where a row needs later steps. ``steps``
    is the length of the time axis.
    """

    node: Node
    axes: tuple[Axis, ...]
    tensor: Tensor
    first: int = 0
    steps: int = 0
    whose: str = ""
    """Who made ``first`` what it is, for messages."""

    @property
    def time_axis(self) -> int | None:
        """The axis that time is on, alone or merged."""
        return next((i for i, axis in enumerate(self.axes) if "T" in axis), None)


@dataclass(frozen=True)
class Pieces:
    """A tensor made of parts along ``dim``, not joined yet: most often one a step.

    ``parts`` are values without time, or tensors that never change, of ``sizes`` along ``dim``.
    """

    dim: int
    parts: tuple[Value | Tensor, ...]
    sizes: tuple[int, ...]
    tensor: Tensor


Known = Value | Pieces


def sizes_of(axes: Sequence[Axis]) -> tuple[int, ...]:
    """All sizes in order: the shape of the row."""
    return tuple(item for axis in axes for item in axis if isinstance(item, int))


def size_of(axis: Axis) -> int:
    """What an axis holds beside time and batch."""
    return math.prod(item for item in axis if isinstance(item, int))


def dynamic(axis: Axis) -> tuple[str, ...]:
    """Time and batch of an axis, in their order."""
    return tuple(item for item in axis if isinstance(item, str))


def regroup(axes: Sequence[Axis], shape: Sequence[int], dynamic_sizes: dict[str, int]) -> tuple[Axis, ...] | None:
    """The axes after a view to ``shape``, or ``None`` where it would cut time or batch."""
    queue: list[Item] = [item for axis in axes for item in axis]
    found: list[Axis] = []
    for size in shape:
        taken: list[Item] = []
        need = size
        while need > 1:
            while queue and queue[0] == 1:
                queue.pop(0)
            if not queue:
                return None
            item = queue[0]
            here = dynamic_sizes[item] if isinstance(item, str) else item
            if need % here == 0:
                taken.append(queue.pop(0))
                need //= here
            elif isinstance(item, int) and item % need == 0:
                taken.append(need)
                queue[0] = item // need
                need = 1
            else:
                return None
        found.append(_merged(taken))
    if any(item != 1 for item in queue):
        return None
    return tuple(found)


def _merged(items: Sequence[Item]) -> Axis:
    """Neighbouring sizes as one; an axis of nothing is of size 1."""
    merged: list[Item] = []
    for item in items:
        if isinstance(item, int) and merged and isinstance(merged[-1], int):
            merged[-1] *= item
        else:
            merged.append(item)
    return tuple(merged) or (1,)


def merged(items: Sequence[Item]) -> Axis:
    """Items as one axis."""
    return _merged([item for item in items if item != 1])


def numpy_dtype(dtype: torch.dtype) -> str:
    """torch's type by NumPy's name."""
    return str(dtype).removeprefix("torch.")
