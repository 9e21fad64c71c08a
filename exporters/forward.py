"""What is run of a module: its forward over whole sequences, or one step of it repeated.

=====================  ============================================================================
the module has         what runs
=====================  ============================================================================
``step(x, state)``     that, once a step, from ``initial_state(batch)`` or ``None``
inputs without time    its forward, once a step, with the states that ``--state`` names
``--state ARG=INDEX``  its forward over the whole sequence from zeros; the state that it returns is left out
else                   its forward over the whole sequence
=====================  ============================================================================
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from edge_rnn.contract.errors import ExportRefused, UsageError
from edge_rnn.contract.signature import InputSpec
from exporters.swapped import Ports


@dataclass(frozen=True)
class Forward:
    """A module and how it is run: ``call`` takes a tensor for each of ``arguments``, in the module's own axes.

    An argument without a time axis beside one that has it is *static*: the same at every step.
    """

    module: nn.Module
    arguments: tuple[InputSpec, ...]
    call: Callable[..., Any]
    stepwise: bool = False

    def is_static(self, spec: InputSpec) -> bool:
        """Whether an argument stays the same along the sequence."""
        return spec.time_axis is None and not self.stepwise


def forward_of(module: nn.Module, arguments: Sequence[InputSpec], states: Mapping[str, int]) -> Forward:
    """How a module is run. Raises `ExportRefused` when its arguments do not fit ``arguments`` and ``states``."""
    step = getattr(module, "step", None)
    if callable(step):
        if states:
            raise UsageError("the module has a method step(x, state), which says its state; leave --state out")
        return Forward(module, tuple(arguments), _Steps(module, tuple(arguments)), stepwise=True)
    named = _named_arguments(module, arguments, states)
    samples = dict(zip(named, (_sample(spec) for spec in arguments), strict=False))
    shapes = _probe(lambda s: module(**samples, **s), module, states, 2) if states else {}
    batch_axis = arguments[0].batch_axis
    if any(spec.time_axis is not None for spec in arguments):
        return Forward(module, tuple(arguments), _Whole(module, named, dict(states), shapes, batch_axis))
    if not states:
        raise UsageError(
            "no --input has a time axis: say which argument of forward is the state, and which of its results the new"
            " one, e.g. --state h=1; or give the input its time axis, e.g. x:float32:batch,time,5"
        )
    return Forward(module, tuple(arguments), _Cell(module, named, dict(states), shapes, batch_axis), stepwise=True)


def _sample(spec: InputSpec) -> Tensor:
    shape = [{"batch": 2, "time": 3}.get(dim, 0) if isinstance(dim, str) else dim for dim in spec.shape]
    return torch.zeros(shape, dtype=getattr(torch, spec.dtype))


def _named_arguments(module: nn.Module, arguments: Sequence[InputSpec], states: Mapping[str, int]) -> list[str]:
    """The names of forward's arguments that the inputs stand for: by name where all fit, else in order."""
    name = type(module).__name__
    parameters = [p for p in inspect.signature(module.forward).parameters.values()]
    plain = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    unknown = sorted(set(states) - {p.name for p in plain})
    if unknown:
        raise UsageError(
            f"--state {unknown[0]}={states[unknown[0]]}: the module {name} takes"
            f" {', '.join(p.name for p in plain) or 'nothing'}; name one of these"
        )
    free = [p for p in plain if p.name not in states]
    names = [spec.name for spec in arguments]
    by_name = all(n in {p.name for p in free} for n in names)
    chosen = names if by_name else [p.name for p in free[: len(arguments)] if p.kind is not p.KEYWORD_ONLY]
    if len(chosen) < len(arguments):
        variable = any(p.kind is p.VAR_POSITIONAL for p in parameters)
        if not variable:
            raise ExportRefused(
                f"the module {name} takes {', '.join(p.name for p in plain) or 'nothing'}, but {len(arguments)} inputs are"
                " given; give one --input for each argument that is streamed"
            )
        return []
    for parameter in free:
        if parameter.default is inspect.Parameter.empty and parameter.name not in chosen:
            raise ExportRefused(
                f"the module {name} needs the argument {parameter.name!r}; give it an --input, a default, or say that it"
                f" is a state: --state {parameter.name}=INDEX"
            )
    return chosen


@dataclass(frozen=True)
class _Run:
    """A forward, the ``names`` of its arguments, and its ``states``; ``shapes`` are those of the first ones."""

    module: nn.Module
    names: list[str]
    states: dict[str, int]
    shapes: dict[str, Any]
    batch_axis: int

    def _first(self, batch: int) -> dict[str, Any]:
        return {name: _zeros(shape, batch) for name, shape in self.shapes.items()}


class _Whole(_Run):
    """A forward over the whole sequence."""

    def __call__(self, *tensors: Tensor) -> Any:
        given = dict(zip(self.names, tensors, strict=True)) if self.names else {}
        if not self.states:
            parameters = inspect.signature(self.module.forward).parameters.values()
            plain = [p.name for p in parameters if p.kind is not p.KEYWORD_ONLY]
            positional = plain[: len(self.names)] == self.names
            return self.module(*tensors) if positional or not self.names else self.module(**given)
        returned = self.module(**given, **self._first(tensors[0].shape[self.batch_axis]))
        return _without(returned, set(self.states.values()))


class _Cell(_Run):
    """A forward that takes one step, in a loop over time; its inputs are ``[time, *axes]``."""

    def __call__(self, *tensors: Tensor) -> Any:
        state = self._first(tensors[0].shape[self.batch_axis + 1])
        results = []
        for step in range(tensors[0].shape[0]):
            row = dict(zip(self.names, (tensor[step] for tensor in tensors), strict=True))
            returned = self.module(**row, **state)
            state = {name: _entry(returned, index) for name, index in self.states.items()}
            whole = not isinstance(returned, (tuple, list))
            results.append(returned if whole else _without(returned, set(self.states.values())))
        return _stacked(results, 0)


@dataclass(frozen=True)
class _Steps:
    """The module's own ``step``, in a loop over time."""

    module: nn.Module
    arguments: tuple[InputSpec, ...]

    def __call__(self, *tensors: Tensor) -> Any:
        first = getattr(self.module, "initial_state", None)
        axis = self.arguments[0].time_axis or 0
        batch = tensors[0].shape[self.arguments[0].batch_axis + (self.arguments[0].time_axis is None)]
        state = first(batch) if callable(first) else None
        step: Any = self.module.step
        results = []
        for number in range(tensors[0].shape[axis]):
            rows = [
                tensor.select(spec.time_axis or 0, number) for spec, tensor in zip(self.arguments, tensors, strict=True)
            ]
            returned = step(*rows, state)
            if not isinstance(returned, tuple) or len(returned) != 2:
                raise ExportRefused(
                    f"the method step of {type(self.module).__name__} returned a {type(returned).__name__}, expected a tuple"
                    " (y, state)"
                )
            results.append(returned[0])
            state = returned[1]
        return _stacked(results, axis)


def _stacked(results: Sequence[Any], axis: int) -> Any:
    first = results[0]
    if isinstance(first, Tensor):
        return torch.stack(list(results), min(axis, first.dim()))
    if isinstance(first, Mapping):
        return {key: _stacked([result[key] for result in results], axis) for key in first}
    if isinstance(first, (tuple, list)):
        return tuple(_stacked([result[i] for result in results], axis) for i in range(len(first)))
    return first


def _without(returned: Any, places: set[int]) -> Any:
    if not isinstance(returned, (tuple, list)):
        raise UsageError(f"--state names result {min(places)}, but forward returns a single {type(returned).__name__}")
    rest = tuple(item for i, item in enumerate(returned) if i not in places)
    return rest[0] if len(rest) == 1 else rest


def _entry(returned: Any, index: int) -> Any:
    if isinstance(returned, (tuple, list)):
        if not -len(returned) <= index < len(returned):
            raise UsageError(f"--state names result {index}, but forward returns {len(returned)}; they count from 0")
        return returned[index]
    if index != 0:
        raise UsageError(
            f"--state names result {index}, but forward returns a single {type(returned).__name__}: result 0"
        )
    return returned


def _zeros(template: Any, batch: int) -> Any:
    """Zeros in a shape that has ``"batch"`` for the batch axis; a tuple of them for a tuple of shapes."""
    if template and isinstance(template[0], tuple):
        return tuple(_zeros(part, batch) for part in template)
    return None if template is None else torch.zeros([batch if dim == "batch" else dim for dim in template])


def _probe(
    run: Callable[[dict[str, Any]], Any], module: nn.Module, states: Mapping[str, int], batch: int
) -> dict[str, Any]:
    """The shapes of first states that forward takes and gives back. Raises `UsageError` when there are none."""
    names = list(states)
    for shapes in itertools.product(_candidates(module), repeat=len(names)):
        given = {name: _zeros(shape, batch) for name, shape in zip(names, shapes, strict=True)}
        try:
            with torch.no_grad(), Ports(module) as ports:
                returned = run(given)
        except UsageError:
            raise
        except Exception:
            continue
        if all(_shape_of(_entry(returned, states[n])) == _shape_of(v) or v is None for n, v in given.items()):
            ports.check(states, given, returned)
            return dict(zip(names, shapes, strict=True))
    raise UsageError(
        f"forward takes no zeros of any shape that its submodules have as the state {', '.join(names)};"
        " give the argument the default None, and make the first state in forward"
    )


def _candidates(module: nn.Module) -> list[Any]:
    """Shapes that states of the submodules have."""
    found: dict[Any, None] = {None: None}
    for child in module.modules():
        if isinstance(child, nn.RNNBase):
            shape = (child.num_layers, "batch", child.hidden_size)
            found |= dict.fromkeys([(shape, shape), shape] if isinstance(child, nn.LSTM) else [shape])
        elif isinstance(child, nn.RNNCellBase):
            shape2 = ("batch", child.hidden_size)
            found |= dict.fromkeys([(shape2, shape2), shape2] if isinstance(child, nn.LSTMCell) else [shape2])
    for child in module.modules():
        if isinstance(child, nn.Linear):
            found[("batch", child.out_features)] = None
            found[("batch", child.in_features)] = None
    return list(found)


def _shape_of(state: Any) -> Any:
    return tuple(state.shape) if isinstance(state, Tensor) else tuple(_shape_of(part) for part in state or ())
