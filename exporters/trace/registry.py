"""From an operation's name to the rule that says what it does to rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from exporters.trace.tracer import Tracer

Rule = Callable[["Tracer", "Call"], Any]
RULES: dict[str, Rule] = {}
FUNCTIONS: dict[str, Callable[[Tracer, Any, Sequence[Any]], Any]] = {}
"""Calls that are taken whole, before torch dispatches their parts: by the function's name."""

VIEWS = (
    "select",
    "slice",
    "alias",
    "detach",
    "unsqueeze",
    "squeeze",
    "view",
    "_unsafe_view",
    "t",
    "transpose",
    "permute",
)
FACTORIES = ("new_zeros", "new_ones", "new_full", "new_empty", "zeros_like", "ones_like", "full_like", "empty_like")
"""What takes only a shape and a type from its tensor."""

PARTS = ("split", "split_with_sizes", "unbind", "chunk")
OWN_STORAGE = ("unsafe_split", "unsafe_split_with_sizes", "unsafe_chunk")


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Register a function as what operations of these names do to rows."""

    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, function))
        return function

    return register


@dataclass(frozen=True)
class Call:
    """One operation: its ``name``, its arguments by the names of its schema, and the sample ``result``."""

    name: str
    arguments: Mapping[str, Any]
    result: Any

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    def get(self, name: str, default: Any = None) -> Any:
        """An argument, or ``default`` where the operation has none of this name."""
        return self.arguments.get(name, default)


def step_to_write(module: nn.Module) -> str:
    """The method that would settle how a module streams."""
    return (
        f"a method `def step(self, x, state): ... return y, state` for one step ({type(module).__name__}: x without its"
        " time axis, state None at first)"
    )


def storage_of(tensor: Tensor) -> int:
    """What tensors that share their memory have in common."""
    return int(tensor.untyped_storage()._cdata) if tensor.layout is torch.strided else id(tensor)


def tensors_in(values: Any) -> Iterator[Tensor]:
    """The tensors among arguments, in lists too."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (tuple, list)):
            yield from tensors_in(value)


def defaults_of(func: Any) -> dict[str, Any]:
    """The defaults of an operation's arguments."""
    return {a.name: a.default_value for a in func._schema.arguments if a.has_default_value()}
