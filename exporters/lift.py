"""State out of a module: its forward emitted as a step graph whose state goes in and comes out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from edge_rnn.contract.errors import ExportRefused
from edge_rnn.contract.signature import InputSpec, OutputKind, OutputSpec
from edge_rnn.models import ElmanSigmoid, JordanLayer, SequenceModel
from exporters.emit import elman, gated, jordan, pointwise, sequence_model, watcher  # noqa: F401  (each registers emitters)
from exporters.emit.registry import Emission, StateOf, Value, emit, is_emitted
from exporters.emit.traced import emit_traced

RETURN_TUPLE = (nn.RNNBase, ElmanSigmoid, JordanLayer, SequenceModel)
"""Modules with an emitter that return ``(sequence, state)``; the others return the sequence."""


@dataclass(frozen=True)
class OutputOf:
    """An output of the graph and its ``place`` in what the module returns: a number, a key, or the whole.

    ``last_step``: the module gives it for the last step only, without a time axis.
    """

    spec: OutputSpec
    place: int | str | None
    last_step: bool


@dataclass(frozen=True)
class Lifted:
    """A step graph's bytes, and how its inputs, outputs and states relate to the module's own."""

    graph: bytes
    inputs: tuple[InputSpec, ...]
    outputs: tuple[OutputOf, ...]
    states: tuple[StateOf, ...]


def lift(module: nn.Module, inputs: Sequence[InputSpec], name: str) -> Lifted:
    """Emit ``module`` as a checked step graph. Raises `ExportRefused` naming what cannot be exported."""
    emission = Emission()
    values = [
        Value(emission.graph.input(spec.name, spec.dtype, spec.shape), spec.axes, spec.shape, spec.dtype)
        for spec in inputs
    ]
    returned: dict[int | str | None, Value]
    if is_emitted(module):
        if len(values) != 1:
            raise ExportRefused(f"the module {type(module).__name__} takes one input, but {len(values)} are given")
        returned = {0 if isinstance(module, RETURN_TUPLE) else None: emit(emission, module, "", values[0])}
    else:
        returned = emit_traced(emission, module, values)
    outputs = []
    for number, (place, value) in enumerate(returned.items()):
        if not {"time", "batch"} <= set(value.axes):
            raise ExportRefused(f"an output of {name!r} has the axes {','.join(value.axes)}, expected time and batch")
        spec = _output_spec(module, place if isinstance(place, str) else f"y.{number}" if number else "y", value)
        emission.graph.output(spec.name, value.name, spec.dtype, spec.shape)
        outputs.append(OutputOf(spec, place, value.last_step))
    return Lifted(emission.graph.model(name), tuple(inputs), tuple(outputs), tuple(emission.states))


def _output_spec(module: nn.Module, name: str, value: Value) -> OutputSpec:
    kind: OutputKind = "values"
    labels = None
    axes = value.axes
    if isinstance(module, SequenceModel):
        labels = module.labels
        if module.task == "classification":
            kind, axes = "logits", (*axes[:-1], "class")
    return OutputSpec(name=name, dtype=value.dtype, shape=value.shape, axes=axes, kind=kind, labels=labels)
