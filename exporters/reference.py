"""What the original module computes: run over whole sequences, its states read where it shows them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from edge_rnn.contract.errors import ExportRefused
from edge_rnn.contract.signature import TensorSpec
from edge_rnn.contract.stepgraph import Arrays
from edge_rnn.contract.trial import Record
from exporters.emit.registry import array_of
from exporters.lift import Lifted


def record_module(module: nn.Module, lifted: Lifted, inputs: Sequence[np.ndarray], marks: Sequence[int]) -> Record:
    """Run the module over ``inputs`` ``[time, batch, *row]`` from fresh states.

    Each run is one whole sequence: the whole for the outputs, and one up to each of ``marks`` for
    the states after that many steps. An output that the module gives for the last step only is
    taken from a run up to every step. Raises `ExportRefused` when the module itself fails.
    """
    steps = inputs[0].shape[0]
    with _one_thread():
        outputs, last = _run(module, lifted, inputs)
        states = {steps: last}
        for mark in marks:
            if mark < steps:
                states[mark] = _run(module, lifted, [value[:mark] for value in inputs])[1]
        if any(output.last_step for output in lifted.outputs):
            prefixes = [_run(module, lifted, [value[:end] for value in inputs])[0] for end in range(1, steps + 1)]
            for index, output in enumerate(lifted.outputs):
                if output.last_step:
                    outputs[index] = np.concatenate([prefix[index] for prefix in prefixes])
    return Record(outputs, states)


def _run(module: nn.Module, lifted: Lifted, inputs: Sequence[np.ndarray]) -> tuple[Arrays, Arrays]:
    """One whole sequence: outputs ``[time, batch, *row]`` (or the last step only) and last states ``[batch, *row]``."""
    returned_by: dict[nn.Module, Any] = {}

    def keep(submodule: nn.Module, _: object, returned: Any) -> None:
        returned_by[submodule] = returned

    hooks = [submodule.register_forward_hook(keep) for submodule in {state.module for state in lifted.states}]
    arguments = [_to_module(spec, value) for spec, value in zip(lifted.inputs, inputs, strict=True)]
    try:
        with torch.inference_mode():
            returned = module(*arguments)
    except Exception as error:  # the user's forward runs here and may raise anything
        shapes = ", ".join(f"{spec.name} {list(a.shape)}" for spec, a in zip(lifted.inputs, arguments, strict=True))
        raise ExportRefused(
            f"the module {type(module).__name__} itself fails on {shapes}: {' '.join(str(error).split())[:200]};"
            " check --input against its forward"
        ) from error
    finally:
        for hook in hooks:
            hook.remove()
    outputs = []
    for output in lifted.outputs:
        value = array_of(_at(returned, output.place))
        spec = output.spec
        if output.last_step:
            axes = [role for role in spec.axes if role != "time"]
            outputs.append(np.moveaxis(value, axes.index("batch"), 0)[None])
        else:
            outputs.append(np.moveaxis(value, (spec.axes.index("time"), spec.batch_axis), (0, 1)))
    states = [
        np.moveaxis(array_of(state.read(returned_by[state.module])), state.spec.batch_axis, 0)
        for state in lifted.states
    ]
    return outputs, states


def _to_module(spec: TensorSpec, value: np.ndarray) -> torch.Tensor:
    """``[time, batch, *row]`` to the axis order of the module's forward."""
    order = (spec.axes.index("time"), spec.batch_axis)
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(value, (0, 1), order)))


def _at(returned: Any, place: int | str | None) -> torch.Tensor:
    value = returned if place is None else returned[place]
    if not isinstance(value, torch.Tensor):
        raise ExportRefused(f"the module returned a {type(value).__name__}, expected a tensor")
    return value


def measure_rounding(module: nn.Module, lifted: Lifted, inputs: Sequence[np.ndarray], expected: Record) -> float | None:
    """How far the module itself is from its run in fp64, per unit of the largest absolute value.

    ``expected`` is what it gave in fp32 on ``inputs``. A recurrence may make a rounding error grow:
    no fp32 graph can then come closer. ``None`` where the module does not run in fp64.
    """
    exact = [value.astype(np.float64) if value.dtype == np.float32 else value for value in inputs]
    module.double()
    try:
        record = record_module(module, lifted, exact, tuple(expected.states))
    except ExportRefused:
        return None
    finally:
        module.float()
    pairs = list(zip(expected.outputs, record.outputs, strict=True))
    for mark, states in expected.states.items():
        pairs += zip(states, record.states[mark], strict=True)
    distances = [np.abs(value - reference).max() / max(1.0, np.abs(reference).max()) for value, reference in pairs]
    return float(max(distances))


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """The same sums in the same order on any machine: one thread while the reference is recorded."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
