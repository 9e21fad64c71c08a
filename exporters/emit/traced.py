"""A module with a forward of its own: traced by torch.fx, then each call emitted.

Modules that have an emitter are not looked into. What a recurrent module returns beside its
sequence is known as its last state; a last step taken (``y[:, -1]``, ``h[-1]``) is given for
every step instead. Operations on single values stand in `exporters.emit.operations`.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import fx, nn

from edge_rnn.contract.errors import ExportRefused
from edge_rnn.models import ElmanSigmoid, JordanLayer, SequenceModel
from exporters.emit.operations import LastState, Mark, StackedState, apply_operation, is_zero_state
from exporters.emit.registry import Emission, Value, array_of, describe, emit, is_emitted

RETURN_STATE = (nn.RNNBase, ElmanSigmoid, JordanLayer, SequenceModel)
"""Modules that return ``(sequence, state)``."""


class _Tracer(fx.Tracer):
    """Stops at modules that have an emitter, and at torch's own."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return is_emitted(m) or super().is_leaf_module(m, module_qualified_name)


def emit_traced(emission: Emission, module: nn.Module, inputs: Sequence[Value]) -> dict[int | str | None, Value]:
    """Emit a module's forward on ``inputs``, in the order of its arguments.

    Returns the tensors that it returns, by their place: a number in a tuple, a key in a dict,
    ``None`` for a single one; states among them are left out. Raises `ExportRefused` naming the
    submodule or the operation that cannot be exported.
    """
    name = type(module).__name__
    traced = _trace(module, len(inputs))
    found: dict[fx.Node, Any] = {}
    waiting = list(inputs)
    called: set[str] = set()

    def known(argument: Any) -> Any:
        return fx.node.map_arg(argument, lambda node: found[node])

    for node in traced.nodes:
        if node.op == "placeholder":
            found[node] = waiting.pop(0) if waiting else None
        elif node.op == "call_module":
            path = str(node.target)
            if path in called and isinstance(module.get_submodule(path), RETURN_STATE):
                raise ExportRefused(
                    f"{describe(module.get_submodule(path), path)} is called twice a step and would need two states;"
                    " call it once, or make two of it"
                )
            called.add(path)
            found[node] = _call_module(emission, module.get_submodule(path), path, known(node.args), known(node.kwargs))
        elif node.op == "get_attr":
            found[node] = array_of(_attribute(module, str(node.target)))
        elif node.op == "output":
            return _returned(known(node.args[0]), name)
        else:
            found[node] = apply_operation(emission, node, known(node.args), known(node.kwargs), name)
    raise ExportRefused(f"the module {name} returns nothing; let it return a tensor")


def _trace(module: nn.Module, inputs: int) -> fx.Graph:
    """Trace with the first ``inputs`` arguments free and every other at its default."""
    name = type(module).__name__
    parameters = list(inspect.signature(module.forward).parameters.values())
    free, rest = parameters[:inputs], parameters[inputs:]
    if len(free) < inputs or any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD, p.KEYWORD_ONLY) for p in free):
        raise ExportRefused(
            f"the module {name} takes {', '.join(p.name for p in parameters) or 'nothing'}, but {inputs} inputs are given;"
            " give one --input for each argument that is streamed"
        )
    for parameter in rest:
        if parameter.default is inspect.Parameter.empty and parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
            raise ExportRefused(
                f"the module {name} needs the argument {parameter.name!r}; give it an --input, or a default"
            )
    constants = {p.name: p.default for p in rest if p.default is not inspect.Parameter.empty}
    try:
        graph = _Tracer().trace(module, concrete_args=constants or None)
    except Exception as error:  # the user's forward runs here and may raise anything
        raise ExportRefused(
            f"the module {name} cannot be traced: {' '.join(str(error).split())[:200]};"
            " write its forward without decisions on values, from supported submodules"
        ) from error
    for node in reversed(graph.nodes):
        if not node.users and node.op not in ("placeholder", "output"):  # computed but not used, or an assertion
            graph.erase_node(node)
    return graph


def _call_module(
    emission: Emission, module: nn.Module, path: str, arguments: tuple[Any, ...], named: Mapping[str, Any]
) -> Any:
    rest = [*arguments[1:], *named.values()]
    if not arguments or not isinstance(arguments[0], Value):
        raise ExportRefused(f"{describe(module, path)} does not get one tensor as its first argument; give it one")
    if not isinstance(module, RETURN_STATE):
        return emit(emission, module, path, arguments[0])
    if not all(is_zero_state(value) for value in rest):
        raise ExportRefused(
            f"{describe(module, path)} gets a state that forward computes;"
            " leave the state out or start it with zeros: the step graph carries it"
        )
    sequence = emit(emission, module, path, arguments[0])
    if isinstance(module, SequenceModel):
        return sequence, LastState(path)
    last = StackedState(sequence, module.num_layers if isinstance(module, nn.RNNBase) else 1)
    return sequence, (last, LastState(path)) if isinstance(module, nn.LSTM) else last


def _attribute(module: nn.Module, target: str) -> torch.Tensor:
    value: Any = module
    for part in target.split("."):
        value = getattr(value, part)
    if not isinstance(value, torch.Tensor):
        raise ExportRefused(f"the attribute {target!r} is a {type(value).__name__}, expected a tensor")
    return value


def _returned(value: Any, name: str) -> dict[int | str | None, Value]:
    places: dict[int | str | None, Any]
    if isinstance(value, Mapping):
        places = {str(key): item for key, item in value.items()}
    elif isinstance(value, (tuple, list)):
        places = dict(enumerate(value))
    else:
        places = {None: value}
    outputs: dict[int | str | None, Value] = {}
    for place, item in places.items():
        if isinstance(item, Value):
            outputs[place] = item
        elif item is not None and not isinstance(item, (StackedState, LastState, Mark, tuple, list)):
            raise ExportRefused(f"the module {name} returns a {type(item).__name__}, expected tensors and states")
    if not outputs:
        raise ExportRefused(f"the module {name} returns no tensor that streams; let it return its output")
    return outputs
