"""One kind of module exported and compared with itself over many steps, in random chunks and another batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_rnn.contract.bundle import Bundle
from edge_rnn.contract.stepgraph import open_step_graph
from edge_rnn.contract.trial import run_chunks, split_at_random
from edge_rnn.contract.verification import subject_of
from exporters.export import export_bundle
from exporters.forward import Forward, forward_of
from exporters.inputs import parse_input, sample_input
from exporters.lift import run_module, to_module
from exporters.returned import tensors_in
from exporters.source import Source
from tests.exporters.zoo.cases import Kind

BATCH = 3


@dataclass(frozen=True)
class Outcome:
    """What an export of one kind came to: the ``error`` per unit of the largest value, over ``steps`` steps."""

    bundle: Bundle
    error: float
    steps: int


def export_and_compare(kind: Kind, folder: Path, *, seed: int = 5) -> Outcome:
    """Export one kind and compare it with the module. Raises what the export raises."""
    module = kind.module()
    specs = [parse_input(text) for text in kind.inputs]
    bundle = export_bundle(Source(module, "zoo", {}), folder, inputs=specs, states=kind.states)
    forward = forward_of(module, specs, kind.states)
    return Outcome(bundle, largest_error(forward, bundle, kind.steps, seed=seed), kind.steps)


def largest_error(forward: Forward, bundle: Bundle, steps: int, *, seed: int, batch: int = BATCH) -> float:
    """How far the bundle, run in random chunks, is from the module run over whole sequences."""
    rng = np.random.default_rng(seed)
    inputs = [sample_input(spec, forward.module, steps, batch, rng) for spec in bundle.manifest.inputs]
    for value, spec in zip(inputs, forward.arguments, strict=True):
        if forward.is_static(spec):
            value[:] = value[:1]
    subject = subject_of(bundle, open_step_graph(bundle))
    found = run_chunks(subject, inputs, split_at_random(rng, steps)).outputs
    so_far = [spec.note is not None for spec in bundle.manifest.outputs]
    expected = _run(forward, inputs, steps, [spec.axes for spec in bundle.manifest.outputs], so_far)
    worst = 0.0
    for value, reference, note in zip(found, expected, so_far, strict=True):
        if note:
            value = value[list(reference)]
            reference = np.stack(list(reference.values()))
        assert value.shape == reference.shape
        largest = max(1.0, float(np.abs(reference).max()))
        worst = max(worst, float(np.abs(value.astype(np.float64) - reference).max()) / largest)
    return worst


def _run(
    forward: Forward, inputs: Sequence[np.ndarray], steps: int, axes: Sequence[Sequence[str]], so_far: Sequence[bool]
) -> list:
    """What the module gives: ``[time, batch, *row]``, or by step ``[batch, *row]`` where it gives the last only."""

    def run(end: int) -> list[np.ndarray]:
        given = [to_module(forward, spec, value[:end]) for spec, value in zip(forward.arguments, inputs, strict=True)]
        return [tensor.numpy() for _, tensor in tensors_in(run_module(forward, given))]

    whole = run(steps)
    ends = sorted({1, 2, 3, 7, steps // 3, steps // 2, steps - 1, steps}) if any(so_far) else []
    shorter = {end: run(end) for end in ends}
    expected: list = []
    for number, (roles, note) in enumerate(zip(axes, so_far, strict=True)):
        if note:
            expected.append({end - 1: values[number] for end, values in shorter.items()})
        else:
            expected.append(np.moveaxis(whole[number], (roles.index("time"), roles.index("batch")), (0, 1)))
    return expected
