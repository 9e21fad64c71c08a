"""The graph of rows: each node is what one step of one stream holds, without time and batch.

A node stands for a whole sequence (`SEQUENCE`: a row for every step), for one step of the sample
run (its number), or for what no step changes (`ALWAYS`). Nodes are made by `NodeTable.make`, which
gives the same object for the same operation on the same operands: two steps of a loop are equal
when they are the same node.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edge_rnn.contract.errors import ExportRefused

ALWAYS = -1
SEQUENCE = -2


@dataclass(frozen=True, eq=False)
class Node:
    """One operation on rows.

    ``kind`` is an operator of ONNX, or one of ours: ``Input``, ``Const``, ``At`` (one step of a
    sequence), ``Delay``, ``Running``, ``Index``, ``Window``, ``Recurrent``, ``Folded``.
    ``shape`` is that of the row; ``when`` is the step, `SEQUENCE` or `ALWAYS`; ``path`` names the
    submodule that computed it. ``array`` is the value of a ``Const``.
    """

    kind: str
    args: tuple[Node, ...]
    attrs: tuple[tuple[str, Any], ...]
    shape: tuple[int, ...]
    dtype: str
    when: int
    path: str
    serial: int
    array: np.ndarray | None = None

    @property
    def is_sequence(self) -> bool:
        """Whether it has a row for every step."""
        return self.when == SEQUENCE

    def attr(self, name: str) -> Any:
        """The attribute of this name."""
        return dict(self.attrs)[name]


@dataclass
class NodeTable:
    """Every node of one trace; ``path`` is the submodule at work, ``where`` names it in messages."""

    path: str = ""
    where: str = "the module"
    _made: dict[Any, Node] = field(default_factory=dict)
    by_step: dict[int, list[Node]] = field(default_factory=dict)

    def make(
        self,
        kind: str,
        args: Sequence[Node] = (),
        *,
        shape: Sequence[int],
        dtype: str,
        when: int | None = None,
        **attrs: Any,
    ) -> Node:
        """The node of this operation, made if there is none yet.

        Raises `ExportRefused` when a whole sequence meets a single step: the rows of every step
        would depend on it, those before it too.
        """
        when = _latest(args, self.where) if when is None else when
        key = (kind, tuple(sorted(attrs.items())), tuple(id(arg) for arg in args), tuple(shape), dtype, when)
        return self._keep(key, Node(kind, tuple(args), key[1], tuple(shape), dtype, when, self.path, len(self._made)))

    def const(self, value: np.ndarray) -> Node:
        """The node of a value that never changes."""
        value = np.array(value, order="C")
        dtype = str(value.dtype)
        key = ("Const", value.tobytes(), value.shape, dtype)
        return self._keep(key, Node("Const", (), (), value.shape, dtype, ALWAYS, self.path, len(self._made), value))

    def at(self, sequence: Node, step: int) -> Node:
        """The row of one step of a sequence."""
        return self.make("At", [sequence], shape=sequence.shape, dtype=sequence.dtype, when=step)

    def _keep(self, key: Any, node: Node) -> Node:
        kept = self._made.setdefault(key, node)
        if kept is node and node.when >= 0:
            self.by_step.setdefault(node.when, []).append(node)
        return kept


def _latest(args: Sequence[Node], where: str) -> int:
    when = max((arg.when for arg in args), default=ALWAYS)
    if any(arg.is_sequence for arg in args):
        if when >= 0:
            raise ExportRefused(
                f"{where} uses what it found over the whole sequence, or at one step of it, in every step: a stream has"
                " not seen its later steps; use what has been seen so far, e.g. a cumulative sum in place of a mean"
            )
        return SEQUENCE
    return when
