"""What the original module computes: run over whole sequences, its states read where it shows them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from edge_rnn.contract.errors import ExportRefused
from edge_rnn.contract.stepgraph import Arrays
from edge_rnn.contract.trial import Record
from exporters.emit.registry import Run, array_of
from exporters.lift import Lifted, run_module, to_module
from exporters.returned import OutputOf, tensors_in
from exporters.trace.rules.recurrent import KINDS

States = list[np.ndarray | None]
"""In manifest order; ``None`` where the module does not show a state."""


@dataclass(frozen=True)
class RunRecord:
    """What a run of the module gave: ``outputs`` ``[time, batch, *row]``, and states by number of steps."""

    outputs: Arrays
    states: Mapping[int, States]


def record_module(module: nn.Module, lifted: Lifted, inputs: Sequence[np.ndarray], marks: Sequence[int]) -> RunRecord:
    """Run the module over ``inputs`` ``[time, batch, *row]`` from fresh states.

    Each run is one whole sequence: the whole for the outputs, and one up to each of ``marks`` for
    the states after that many steps. An output that the module gives for the last step only is
    taken from a run up to every step. Raises `ExportRefused` when the module itself fails.
    """
    steps = inputs[0].shape[0]
    with _one_thread():
        outputs, last = _run(module, lifted, inputs)
        states = {steps: last}
        shows = any(state.read is not None for state in lifted.states)
        for mark in marks:
            if mark < steps:
                states[mark] = (
                    _run(module, lifted, [value[:mark] for value in inputs])[1] if shows else [None] * len(last)
                )
        if any(output.last_step for output in lifted.outputs):
            prefixes = [_run(module, lifted, [value[:end] for value in inputs])[0] for end in range(1, steps + 1)]
            for index, output in enumerate(lifted.outputs):
                if output.last_step:
                    outputs[index] = np.concatenate([prefix[index] for prefix in prefixes])
    return RunRecord(outputs, states)


def _run(module: nn.Module, lifted: Lifted, inputs: Sequence[np.ndarray]) -> tuple[Arrays, States]:
    """One whole sequence: outputs ``[time, batch, *row]`` (or the last step only) and last states ``[batch, *row]``."""
    run = Run()

    def keep(submodule: nn.Module, _: object, returned: Any) -> None:
        run.returned[submodule] = returned

    hooks = [submodule.register_forward_hook(keep) for submodule in module.modules()]
    forward = lifted.forward
    arguments = [to_module(forward, spec, value) for spec, value in zip(forward.arguments, inputs, strict=True)]
    try:
        with _Calls(run):
            returned = run_module(forward, arguments)
    finally:
        for hook in hooks:
            hook.remove()
    steps, batch = inputs[0].shape[:2]
    tensors = dict(tensors_in(returned))
    missing = [output.place for output in lifted.outputs if output.place not in tensors]
    if missing:
        raise ExportRefused(
            f"the module {type(module).__name__} returns its outputs in another form for {steps} steps than for a few;"
            " let it always return the same"
        )
    outputs = [_canonical(output, array_of(tensors[output.place]), steps, batch) for output in lifted.outputs]
    states = [
        None if state.read is None else np.moveaxis(array_of(state.read(run)), state.spec.batch_axis, 0)
        for state in lifted.states
    ]
    return outputs, states


def _canonical(output: OutputOf, value: np.ndarray, steps: int, batch: int) -> np.ndarray:
    """``[time, batch, *row]`` of what the module returned."""
    items = [item for axis in output.axes for item in axis]
    sizes = [{"T": steps, "B": batch}[item] if isinstance(item, str) else item for item in items]
    if int(np.prod(sizes)) != value.size:
        raise ExportRefused(
            f"the output {output.spec.name!r} has shape {list(value.shape)} for {steps} steps of {batch} streams, which is"
            " not what a few steps made expect; let its shape follow from its input's"
        )
    value = value.reshape(sizes)
    if output.last_step:
        return np.moveaxis(value, items.index("B"), 0)[None]
    return np.moveaxis(value, (items.index("T"), items.index("B")), (0, 1))


class _Calls(TorchFunctionMode):
    """Keeps what each call of a recurrent function returned."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self._run = run

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        returned = func(*args, **(kwargs or {}))
        if getattr(func, "__name__", "") in KINDS:
            self._run.calls.append(returned)
        return returned


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
    for mark, states in record.states.items():
        pairs += [pair for pair in zip(expected.states[mark], states, strict=True) if pair[1] is not None]  # type: ignore[misc]
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
