"""The second graph of an encoder-decoder: ``prompt.onnx`` takes the prompt and gives the decoder's first states."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
import numpy as np
import torch

from edge_rnn.contract.errors import GateFailed
from edge_rnn.contract.gates import SEED, TOLERANCE
from edge_rnn.contract.signature import GateFigure, Manifest, PromptSpec
from edge_rnn.contract.stepgraph import Arrays, StepGraph, prompt_manifest
from edge_rnn.models import EncoderDecoder
from exporters.emit.registry import Emission, Value, array_of
from exporters.emit.sequence_model import emit_prompt
from exporters.inputs import sample_input, token_input
from exporters.reference import explain_rounding

PROMPT_GRAPH = "prompt.onnx"
STEPS, BATCH = 64, 8
LENGTHS = (1, 2, 17, STEPS)
"""Numbers of tokens after which the states are compared."""


def lift_prompt(
    module: EncoderDecoder, manifest: Manifest, *, tolerance: float = TOLERANCE
) -> tuple[PromptSpec, bytes]:
    """The encoder as a graph, proved against the module: every stream alone and all together, in one call and in chunks.

    ``manifest`` is the step graph's. An error is allowed up to ``tolerance`` times the largest value
    that the graph gives, or 1. Raises `GateFailed` naming the state and the distance.
    """
    spec = token_input("prompt", None, module.prompt_vocabulary)
    emission = Emission()
    name = emission.graph.input(spec.name, spec.dtype, spec.shape)
    emit_prompt(emission, module, Value(name, spec.axes, spec.shape, spec.dtype))
    prompt = PromptSpec(graph=PROMPT_GRAPH, input=spec)
    graph = emission.graph.model(f"{manifest.name}.prompt")
    step = StepGraph(prompt_manifest(manifest, prompt), graph)

    tokens = sample_input(spec, module, STEPS, BATCH, np.random.default_rng(SEED))
    expected = {steps: _states(module, manifest, tokens[:steps]) for steps in LENGTHS}
    distances = [one for steps in LENGTHS for one in _distances(step, tokens[:steps], expected[steps])]
    worst = max(distances, key=lambda one: one.error / one.largest)
    if not worst.error <= tolerance * worst.largest:
        rounding = _rounding(module, manifest, tokens, expected)
        remark = explain_rounding(rounding, lambda allowed: worst.error <= allowed * worst.largest)
        raise GateFailed(
            f"parity of {PROMPT_GRAPH}: state {worst.state!r} after step {worst.steps} is off by {worst.error:.3g},"
            f" allowed {tolerance * worst.largest:.3g}; {f'{remark}; ' if remark else ''}nothing was written"
        )
    figure = GateFigure(max_abs_error=worst.error, bound=tolerance * worst.largest, steps=STEPS, batch=BATCH)
    return msgspec.structs.replace(prompt, parity=figure), graph


@dataclass(frozen=True)
class _Distance:
    """How far a state is from the module's after so many steps; ``largest`` is the largest value of all states then, or 1."""

    error: float
    largest: float
    state: str
    steps: int


def _states(module: EncoderDecoder, manifest: Manifest, tokens: np.ndarray) -> Arrays:
    """The module's states ``[batch, *row]`` after ``tokens: int64[time, batch]``, in manifest order."""
    with torch.inference_mode():
        found = module.prompt(torch.from_numpy(tokens))
    return [np.moveaxis(array_of(found[state.name]), state.batch_axis, 0) for state in manifest.states]


def _distances(step: StepGraph, tokens: np.ndarray, expected: Arrays) -> list[_Distance]:
    """Of every state: all streams in one call, all step by step, and each stream alone."""
    steps, largest = len(tokens), _largest(expected)
    runs = [(slice(None), [steps]), (slice(None), [1] * steps)] + [(slice(i, i + 1), [steps]) for i in range(BATCH)]
    return [
        _Distance(_apart(value, whole[streams]), largest, state.name, steps)
        for streams, chunks in runs
        for state, value, whole in zip(
            step.manifest.states, _run(step, tokens[:, streams], chunks), expected, strict=True
        )
    ]


def _rounding(module: EncoderDecoder, manifest: Manifest, tokens: np.ndarray, expected: Mapping[int, Arrays]) -> float:
    """How far the module is from its run in fp64, per unit of the largest value."""
    exact = copy.deepcopy(module).double()
    return max(
        _apart(value, reference) / _largest(values)
        for steps, values in expected.items()
        for value, reference in zip(values, _states(exact, manifest, tokens[:steps]), strict=True)
    )


def _largest(values: Arrays) -> float:
    return max(1.0, *(float(np.abs(value).max()) for value in values))


def _apart(value: np.ndarray, reference: np.ndarray) -> float:
    """The largest difference, infinite where a value is not finite."""
    apart = float(np.abs(value.astype(np.float64) - reference).max())
    return apart if np.isfinite(apart) else np.inf


def _run(step: StepGraph, tokens: np.ndarray, chunks: list[int]) -> Arrays:
    """The states after ``tokens: int64[time, batch]`` in calls of ``chunks`` steps."""
    batch = tokens.shape[1]
    states = [np.zeros((batch, *spec.row_shape), spec.dtype) for spec in step.manifest.states]
    for part in np.split(tokens, np.cumsum(chunks)[:-1]):
        _, states = step([part], states)
    return states
