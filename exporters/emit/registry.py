"""From a module's type to the function that emits it, and what emitters share.

An emitter takes the module, its path for names and messages, and the value that flows in, and
returns the value that flows out. Recurrent emitters also declare their state pairs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import numpy as np
from torch import Tensor, nn

from edge_rnn.contract.bundle import INITIAL
from edge_rnn.contract.errors import ExportRefused
from edge_rnn.contract.signature import InitialArray, StateSpec
from exporters.graph import Dim, GraphBuilder


@dataclass(frozen=True)
class Value:
    """A tensor of the graph: its name, the role of each axis in the module's own order, and its shape.

    ``shape`` holds ``"time"`` and ``"batch"`` for the dynamic axes.
    """

    name: str
    axes: tuple[str, ...]
    shape: tuple[Dim, ...]
    dtype: str = "float32"

    @property
    def width(self) -> int:
        """Numbers on the last axis."""
        return int(self.shape[-1])


@dataclass
class Run:
    """One run of the module itself: what each submodule and each call of a recurrent function returned."""

    returned: dict[nn.Module, Any] = field(default_factory=dict)
    calls: list[Any] = field(default_factory=list)


@dataclass(frozen=True)
class StateOf:
    """A state pair, its first value and where the module itself shows it.

    ``read`` takes a run of the module over a whole sequence and gives the last state, in the axes
    of ``spec``; ``None`` where the module does not show it. ``initial`` is ``[*row]`` of one stream.
    """

    spec: StateSpec
    initial: np.ndarray
    read: Callable[[Run], Tensor] | None


@dataclass
class Emission:
    """The graph so far and its state pairs in the order they were declared."""

    graph: GraphBuilder = field(default_factory=GraphBuilder)
    states: list[StateOf] = field(default_factory=list)

    def state(self, name: str, width: int, module: nn.Module, read: Callable[[Any], Tensor]) -> str:
        """Declare the state pair ``name`` / ``name.next`` of ``float32[1, batch, width]``; returns the input.

        ``read`` takes what ``module`` returned.
        """
        zeros = np.zeros((1, width), np.float32)
        return self.declare(
            name, (1, "batch", width), "float32", initial=zeros, read=lambda run: read(run.returned[module])
        )

    def declare(
        self,
        name: str,
        shape: tuple[Dim, ...],
        dtype: str,
        *,
        initial: np.ndarray,
        read: Callable[[Run], Tensor] | None,
    ) -> str:
        """Declare the state pair ``name`` / ``name.next``; returns the input."""
        first: Literal["zeros"] | InitialArray = InitialArray(file=INITIAL, array=name) if np.any(initial) else "zeros"
        spec = StateSpec(name=name, input=name, output=f"{name}.next", dtype=dtype, shape=shape, initial=first)
        self.states.append(StateOf(spec, initial, read))
        return self.graph.input(name, dtype, shape)

    def next_state(self, name: str, value: str) -> None:
        """Give the new value of a declared state out of the graph."""
        spec = next(state.spec for state in self.states if state.spec.name == name)
        self.graph.output(spec.output, value, spec.dtype, spec.shape)

    def weight(self, tensor: Tensor, name: str) -> str:
        """Keep a parameter in the graph."""
        return self.graph.constant(array_of(tensor), name)


Emitter = Callable[[Emission, Any, str, Value], Value]
M = TypeVar("M", bound=nn.Module)
_EMITTERS: dict[type[nn.Module], Emitter] = {}


def emits(*kinds: type[nn.Module]) -> Callable[[Emitter], Emitter]:
    """Register a function as the emitter of these types (not of types derived from them)."""

    def register(emitter: Emitter) -> Emitter:
        _EMITTERS.update(dict.fromkeys(kinds, emitter))
        return emitter

    return register


def is_emitted(module: nn.Module) -> bool:
    """Whether the type of ``module`` has an emitter: such modules are not looked into."""
    return type(module) in _EMITTERS


def emit(emission: Emission, module: nn.Module, path: str, value: Value) -> Value:
    """Emit one module. Raises `ExportRefused` naming its path when its type has no emitter."""
    if not is_emitted(module):
        supported = ", ".join(sorted(kind.__name__ for kind in _EMITTERS))
        raise ExportRefused(
            f"{describe(module, path)} cannot be exported: supported are {supported}, and modules that call them"
        )
    return _EMITTERS[type(module)](emission, module, path, value)


def describe(module: nn.Module, path: str) -> str:
    """``'rnn' (LSTM)`` for messages; the outermost module has no path."""
    kind = type(module).__name__
    return f"the submodule {path!r} ({kind})" if path else f"the module ({kind})"


def path_of(module: nn.Module, path: str) -> str:
    """The path, or for the outermost module its type in lower case: what names are made of."""
    return path or type(module).__name__.lower()


def array_of(tensor: Tensor) -> np.ndarray:
    """A tensor's values as an array on the CPU."""
    value: np.ndarray = tensor.detach().cpu().numpy()
    return value
