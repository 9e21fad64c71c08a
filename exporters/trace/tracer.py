"""A module run on a sample while every operation that torch dispatches is seen and its rows are followed.

Nothing of the module is rewritten: loops run, lists fill, views and tensors written in place are
followed to what they show. What does not depend on the inputs is computed and becomes a constant.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor, nn

from edge_rnn.contract.errors import ExportRefused
from exporters.trace.fold import Loop
from exporters.trace.nodes import Node, NodeTable
from exporters.trace.registry import (
    FACTORIES,
    OWN_STORAGE,
    PARTS,
    RULES,
    VIEWS,
    Call,
    defaults_of,
    step_to_write,
    storage_of,
    tensors_in,
)
from exporters.trace.values import Known, Pieces, Value


@dataclass(frozen=True)
class Recurrence:
    """A recurrent layer taken whole: which call of the run it was, which state of it, and its layer."""

    call: int
    kind: str
    layer: int


@dataclass
class Tracer:
    """What is known of the tensors of one run of ``steps`` steps and ``batch`` streams."""

    module: nn.Module
    steps: int
    batch: int
    whole: bool = True
    """Whether recurrent layers are taken whole; else their steps are followed one by one."""

    table: NodeTable = field(default_factory=NodeTable)
    names: dict[Node, str] = field(default_factory=dict)
    recurrences: dict[Node, Recurrence] = field(default_factory=dict)
    remarks: dict[Node, str] = field(default_factory=dict)
    """What a node gives in place of what the module says, e.g. the mean so far."""

    loops: dict[Node, Loop] = field(default_factory=dict)
    """Every state that a loop carries."""

    chains: dict[Node, list[Node]] = field(default_factory=dict)
    """For every state, the nodes that held it at the steps of the run."""

    states: set[Node] = field(default_factory=set)
    """What recurrent layers return beside their output."""

    rows: dict[Node, np.ndarray] = field(default_factory=dict)
    """The rows of what no input changes."""

    calls: int = 0
    _known: dict[int, tuple[int, Known | None]] = field(default_factory=dict)
    _views: dict[int, tuple[Tensor, str, dict[str, Any]]] = field(default_factory=dict)
    _versions: dict[int, int] = field(default_factory=dict)
    _kept: list[Tensor] = field(default_factory=list)
    _paths: list[str] = field(default_factory=lambda: [""])

    @property
    def where(self) -> str:
        """The submodule at work, for messages."""
        path = self._paths[-1]
        kind = type(self.module.get_submodule(path)).__name__
        return f"the submodule {path!r} ({kind})" if path else f"the module ({kind})"

    @property
    def path(self) -> str:
        """The path of the submodule at work."""
        return self._paths[-1]

    def know(self, tensor: Tensor, known: Known | None) -> None:
        """Keep what is known of a tensor of the run."""
        self._kept.append(tensor)
        self._known[id(tensor)] = (self._version(tensor), known)

    def known(self, tensor: Any) -> Known | None:
        """What is known of a tensor; ``None`` for one that does not depend on the inputs."""
        if not isinstance(tensor, Tensor):
            return None
        version = self._version(tensor)
        kept = self._known.get(id(tensor))
        if kept is not None and kept[0] == version:
            return kept[1]
        if version == 0:
            return None
        if id(tensor) not in self._views:
            raise ExportRefused(
                f"{self.where} writes in place to a tensor that is also seen elsewhere; write to a copy"
            )
        base, name, arguments = self._views[id(tensor)]
        if self.known(base) is None:
            return None
        found = RULES[name](self, Call(name, {**arguments, "self": base}, tensor))
        self._known[id(tensor)] = (version, found)
        return found if isinstance(found, (Value, Pieces)) else None

    def value(self, tensor: Any) -> Value | None:
        """What is known of a tensor, its pieces joined."""
        known = self.known(tensor)
        if isinstance(known, Pieces):
            from exporters.trace.rules.join import join

            known = join(self, known)
            self.know(tensor, known)
        return known

    def assign(self, tensor: Tensor, known: Known | None) -> None:
        """A tensor was written in place: so was what it is a view of."""
        storage = storage_of(tensor)
        self._versions[storage] = self._versions.get(storage, 0) + 1
        self._assign(tensor, known)

    def _assign(self, tensor: Tensor, known: Known | None) -> None:
        view = self._views.get(id(tensor))
        if view is not None:
            from exporters.trace.rules.write import write_through

            base, name, arguments = view
            before = self._known.get(id(base), (0, None))[1]
            self._assign(base, write_through(self, base, before, name, arguments, known))
        self.know(tensor, known)

    def refuse(self, what: str) -> ExportRefused:
        """A refusal that names the submodule at work."""
        return ExportRefused(f"{self.where} {what}")

    def dispatch(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Run one operation and follow its rows."""
        name = func.overloadpacket.__name__
        arguments = dict(zip((a.name for a in func._schema.arguments), args, strict=False)) | dict(kwargs)
        tensors = list(tensors_in(arguments.values()))
        tracked = any(self.known(tensor) is not None for tensor in tensors)
        if name == "_local_scalar_dense" and any(self.changes(tensor) for tensor in tensors):
            raise self.refuse(
                "decides or counts on a value of its input in Python, which a graph cannot; use torch.where or clamp"
            )
        result = func(*args, **kwargs)
        if name in OWN_STORAGE:
            result = [part.clone() for part in result]
        if name in VIEWS and isinstance(result, Tensor) and result is not args[0]:
            self._kept.extend((args[0], result))
            self._views[id(result)] = (args[0], name, {**defaults_of(func), **arguments})
        elif name in PARTS:
            self._keep_parts(args[0], arguments.get("dim", 0), result)
        written = [a.name for a in func._schema.arguments if a.alias_info is not None and a.alias_info.is_write]
        if tracked and name not in FACTORIES:
            self._follow_rows(name, {**defaults_of(func), **arguments}, result, written)
        elif isinstance(result, Tensor) and not written:
            self._watch_constant(name, result)
        return result

    def _watch_constant(self, name: str, result: Tensor) -> None:
        """A constant with a row for each stream may be a first state, one that counts steps depends on their number.

        Both are followed, not folded.
        """
        sizes = list(result.shape)
        if name == "arange" and sizes == [self.steps]:
            self.know(result, count_of(self, result))
            return
        if sizes.count(self.batch) != 1 or self.steps in sizes or result.numel() == 0:
            return
        at = sizes.index(self.batch)
        first = result.select(at, 0)
        if not bool((result == first.unsqueeze(at)).all()):
            return
        node = self.table.const(first.detach().numpy())
        assert node.array is not None
        self.rows[node] = node.array
        axes = tuple(("B",) if i == at else (size,) for i, size in enumerate(sizes))
        self.know(result, Value(node, axes, result))

    def _follow_rows(self, name: str, arguments: dict[str, Any], result: Any, written: Sequence[str]) -> None:
        plain = name.removesuffix("_") if written else name
        known_rule = RULES.get(plain)
        if known_rule is None and not written and not any(self.changes(t) for t in tensors_in(arguments.values())):
            return
        if known_rule is None or (written and written != ["self"]):
            raise self.refuse(
                f"uses the operation {name!r}, for which the export has no rule; compute it by other means, or give the"
                f" module {step_to_write(self.module)}"
            )
        try:
            found = known_rule(self, Call(plain, arguments, result))
        except ExportRefused:
            if written or any(self.changes(tensor) for tensor in tensors_in(arguments.values())):
                raise
            return
        if written:
            self.assign(arguments["self"], found)
        elif isinstance(result, (tuple, list)):
            for tensor, part in zip(result, found, strict=True):
                if isinstance(part, (Value, Pieces)):
                    self.know(tensor, part)
        elif isinstance(found, (Value, Pieces)):
            self.know(result, found)

    def changes(self, tensor: Tensor) -> bool:
        """Whether the inputs change a tensor."""
        known = self.known(tensor)
        return known is not None and (isinstance(known, Pieces) or known.node not in self.rows)

    def _keep_parts(self, base: Tensor, dim: int, parts: Sequence[Tensor]) -> None:
        """What split, chunk and unbind give are views, too."""
        start, dim = 0, dim % base.dim()
        for number, part in enumerate(parts):
            if part.dim() < base.dim():
                view = ("select", {"dim": dim, "index": number})
            else:
                view = ("slice", {"dim": dim, "start": start, "end": start + part.shape[dim], "step": 1})
                start += part.shape[dim]
            self._kept.extend((base, part))
            self._views[id(part)] = (base, view[0], {"self": base, **view[1]})

    def _version(self, tensor: Tensor) -> int:
        return self._versions.get(storage_of(tensor), 0) if self._versions else 0

    def enter(self, path: str) -> None:
        """A submodule begins its work."""
        self._paths.append(path)
        self.table.path, self.table.where = path, self.where

    def leave(self) -> None:
        """The submodule that began last ends its work."""
        self._paths.pop()
        self.table.path, self.table.where = self._paths[-1], self.where

    def noted(self, tensor: Tensor) -> Known | None:
        """What was last noted of a tensor, fresh or not: enough for names."""
        return self._known.get(id(tensor), (0, None))[1]

    @contextmanager
    def at_path(self, path: str) -> Iterator[None]:
        """Nodes made here belong to the submodule ``path``."""
        before, self.table.path = self.table.path, path
        try:
            yield
        finally:
            self.table.path = before


def count_of(tracer: Tracer, result: Tensor) -> Value:
    """What `torch.arange` gives over the whole sequence: the number of each step, times a growth, plus a start."""
    from exporters.trace.rules.align import const_rows

    node = const_rows(tracer, result, [("T",)], tracer.steps)
    return Value(node, (("T",),), result, steps=tracer.steps)
