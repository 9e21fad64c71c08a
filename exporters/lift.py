"""State out of a module: its forward followed on a sample and emitted as a step graph whose state goes in and comes out."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import exporters.trace.rules  # noqa: F401  (registers every rule)
from edge_rnn.contract.errors import ExportRefused
from edge_rnn.contract.signature import InputSpec, OutputSpec
from edge_rnn.models import SequenceModel
from exporters.emit import elman, gated, jordan, pointwise, registry, sequence_model, watcher  # noqa: F401  (each registers)
from exporters.emit.kept import NeedsSteps
from exporters.emit.registry import Emission, StateOf
from exporters.emit.streams import StreamEmitter
from exporters.forward import Forward, forward_of
from exporters.inputs import sample_input
from exporters.returned import OutputOf, outputs_of, tensors_in
from exporters.trace.nodes import ALWAYS, SEQUENCE
from exporters.trace.running import run_traced
from exporters.trace.tracer import Tracer
from exporters.trace.values import Axis, Value

STEPS = (11, 13, 17, 19, 23, 29)
BATCHES = (31, 37, 41, 43, 47, 53, 59, 61, 67, 71)
"""Lengths and batch sizes of the sample run: primes that no size of the module is, so that axes tell themselves apart."""


@dataclass(frozen=True)
class Lifted:
    """A step graph's bytes, and how its inputs, outputs and states relate to the module's own."""

    graph: bytes
    inputs: tuple[InputSpec, ...]
    outputs: tuple[OutputOf, ...]
    states: tuple[StateOf, ...]
    forward: Forward


def lift(module: nn.Module, inputs: Sequence[InputSpec], name: str, states: Mapping[str, int] | None = None) -> Lifted:
    """Emit ``module`` as a checked step graph. Raises `ExportRefused` naming what cannot be exported."""
    if isinstance(module, SequenceModel):
        return _lift_sequence_model(module, inputs, name)
    forward = forward_of(module, inputs, states or {})
    _check_repeatable(forward)
    steps, batches = _sizes_apart(module, forward)
    try:
        return _lift_traced(forward, name, steps[0], batches[0])
    except ExportRefused as refused:
        try:
            return _lift_traced(forward, name, steps[1], batches[1])  # sizes may have met by chance
        except ExportRefused:
            raise refused from None


def _lift_sequence_model(module: SequenceModel, inputs: Sequence[InputSpec], name: str) -> Lifted:
    emission = Emission()
    (spec,) = inputs
    value = registry.Value(emission.graph.input(spec.name, spec.dtype, spec.shape), spec.axes, spec.shape, spec.dtype)
    value = registry.emit(emission, module, "", value)
    logits = module.task == "classification"
    output = OutputSpec(
        name="y",
        dtype=value.dtype,
        shape=value.shape,
        axes=(*value.axes[:-1], "class") if logits else value.axes,
        kind="logits" if logits else "values",
        labels=module.labels,
    )
    emission.graph.output("y", value.name, value.dtype, value.shape)
    outputs = (OutputOf(output, (0,), (("T",), ("B",), (value.width,))),)
    forward = Forward(module, tuple(inputs), module)
    return Lifted(emission.graph.model(name), tuple(inputs), outputs, tuple(emission.states), forward)


def _sizes_apart(module: nn.Module, forward: Forward) -> tuple[list[int], list[int]]:
    """Lengths and batch sizes that no parameter and no input has."""
    taken = {size for tensor in (*module.parameters(), *module.buffers()) for size in tensor.shape}
    taken |= {dim for spec in forward.arguments for dim in spec.shape if isinstance(dim, int)}
    steps = [n for n in STEPS if n not in taken] or [31, 101]
    batches = [n for n in BATCHES if n not in taken and n not in steps] or [97, 103]
    return (steps * 2)[:2] if len(steps) == 1 else steps, (batches * 2)[:2] if len(batches) == 1 else batches


def sample_of(forward: Forward, steps: int, batch: int, seed: int = 0) -> list[Tensor]:
    """Inputs for a run of the module: distinct, in its own axes."""
    rng = np.random.default_rng(seed)
    tensors = []
    for spec in forward.arguments:
        rows = sample_input(spec, forward.module, steps, batch, rng)
        tensors.append(to_module(forward, spec, rows))
    return tensors


def to_module(forward: Forward, spec: InputSpec, rows: np.ndarray) -> Tensor:
    """``[time, batch, *row]`` to the axes of the module's argument: one step of it where the argument is static."""
    if spec.time_axis is not None:
        rows = np.moveaxis(rows, (0, 1), (spec.time_axis, spec.batch_axis))
    elif forward.is_static(spec):
        rows = np.moveaxis(rows[0], 0, spec.batch_axis)
    else:
        rows = np.moveaxis(rows, 1, spec.batch_axis + 1)
    return torch.from_numpy(np.ascontiguousarray(rows))


def _check_repeatable(forward: Forward) -> None:
    """Raises `ExportRefused` for a module that gives something else the second time, or fails."""
    sample = sample_of(forward, 9, 3)
    returned = [[tensor for _, tensor in tensors_in(run_module(forward, sample))] for _ in range(2)]
    name = type(forward.module).__name__
    if not returned[0]:
        raise ExportRefused(f"the module {name} returns no tensor; let it return its output")
    if any(not torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in zip(*returned, strict=True)):
        raise ExportRefused(
            f"the module {name} gives another result when it runs again: it draws random numbers, or keeps something from"
            " one call to the next; let it do neither in eval mode (dropout with training=self.training, states as"
            " arguments and results)"
        )


def run_module(forward: Forward, arguments: Sequence[Tensor]) -> Any:
    """What the module returns. Raises `ExportRefused` when it fails."""
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what torch says of the user's module belongs to its training
            return forward.call(*arguments)
    except ExportRefused:
        raise
    except Exception as error:  # the user's forward runs here and may raise anything
        shapes = ", ".join(f"{s.name} {list(a.shape)}" for s, a in zip(forward.arguments, arguments, strict=True))
        told = " ".join(str(error).split())[:200]
        remedy = f"say how its input is laid out and of which type, e.g. --input x:float32:{_example(forward)}"
        if "float64" in told or "double" in told:
            remedy = "it runs in fp32 here, so let it keep to the type of its input and weights"
        raise ExportRefused(
            f"the module {type(forward.module).__name__} itself fails on {shapes}: {told}; {remedy}"
        ) from error


def _example(forward: Forward) -> str:
    axes = forward.arguments[0].axes
    first = ("time", "batch") if axes[0] == "batch" else ("batch", "time")
    return f"{','.join(first)},5"


def _lift_traced(forward: Forward, name: str, steps: int, batch: int) -> Lifted:
    try:
        return _lift_once(forward, name, Tracer(forward.module, steps, batch))
    except NeedsSteps:
        return _lift_once(forward, name, Tracer(forward.module, steps, batch, whole=False))


def _lift_once(forward: Forward, name: str, tracer: Tracer) -> Lifted:
    emission = Emission()
    sample = sample_of(forward, tracer.steps, tracer.batch)
    inputs, given = [], {}
    for spec, tensor in zip(forward.arguments, sample, strict=True):
        value = _input(tracer, forward, spec, tensor)
        tracer.know(tensor, value)
        inputs.append(_graph_spec(spec))
        given[value.node] = inputs[-1]
    returned = run_module(replace(forward, call=lambda *given: run_traced(tracer, forward.call, given)), sample)
    found = outputs_of(tracer, returned)
    names = {node: emission.graph.input(spec.name, spec.dtype, spec.shape) for node, spec in given.items()}
    for node, spec in given.items():
        order = [spec.axes.index("time"), spec.axes.index("batch")]
        order += [i for i in range(len(spec.axes)) if i not in order]
        if order != sorted(order):
            names[node] = emission.graph.op("Transpose", [names[node]], hint=spec.name, perm=order)
    clock, spec = next(iter(given.items()))
    emitter = StreamEmitter(
        tracer, emission, names[clock], made=dict(names), clock_dtype=spec.dtype, clock_row=clock.shape
    )
    outputs = []
    for output, node in found:
        emitted = emitter.emit(node)
        spec_out = output.spec
        if node.dtype == "float32":
            emitted = emitter.rows.spoil(emitted, len(node.shape), spec_out.name)
        order = [0, 1, *range(2, 2 + len(node.shape))]
        dynamic = [("time", "batch").index(role) if role in ("time", "batch") else None for role in spec_out.axes]
        features = iter(range(2, 2 + len(node.shape)))
        perm = [next(features) if at is None else at for at in dynamic]
        if perm != order:
            emitted = emission.graph.op("Transpose", [emitted], hint=spec_out.name, perm=perm)
        emission.graph.output(spec_out.name, emitted, spec_out.dtype, spec_out.shape)
        outputs.append(output)
    return Lifted(emission.graph.model(name), tuple(inputs), tuple(outputs), tuple(emission.states), forward)


def _input(tracer: Tracer, forward: Forward, spec: InputSpec, tensor: Tensor) -> Value:
    static = forward.is_static(spec)
    roles: dict[str, Axis] = {"time": ("T",), "batch": ("B",)}
    axes = tuple(roles.get(role, (dim,)) for role, dim in zip(spec.axes, spec.shape, strict=True))
    if spec.time_axis is None and not static:
        axes = (("T",), *axes)
    when = ALWAYS if static else SEQUENCE
    node = tracer.table.make("Input", shape=spec.row_shape, dtype=spec.dtype, when=when, name=spec.name)
    return Value(node, axes, tensor, steps=0 if static else tracer.steps)


def _graph_spec(spec: InputSpec) -> InputSpec:
    """The graph's input: every argument is given at every step."""
    if spec.time_axis is not None:
        return spec
    return InputSpec(
        name=spec.name,
        dtype=spec.dtype,
        shape=("time", *spec.shape),
        axes=("time", *spec.axes),
        features=spec.features,
    )
