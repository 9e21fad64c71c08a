"""The second graph of an encoder-decoder: ``prompt.onnx`` takes the prompt and gives the decoder's first states."""

from __future__ import annotations

import msgspec
import numpy as np
import torch

from edge_rnn.contract.errors import GateFailed
from edge_rnn.contract.gates import SEED, TOLERANCE
from edge_rnn.contract.signature import GateFigure, Manifest, PromptSpec
from edge_rnn.contract.stepgraph import StepGraph, prompt_manifest
from edge_rnn.models import EncoderDecoder
from exporters.emit.registry import Emission, Value, array_of
from exporters.emit.sequence_model import emit_prompt
from exporters.inputs import sample_input, token_input

PROMPT_GRAPH = "prompt.onnx"
STEPS, BATCH = 64, 8


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
    worst = GateFigure(max_abs_error=0.0, bound=tolerance, steps=STEPS, batch=BATCH)
    for steps in (1, 2, 17, STEPS):
        with torch.inference_mode():
            expected = module.prompt(torch.from_numpy(tokens[:steps]))
        largest = max(1.0, *(float(value.abs().max()) for value in expected.values()))
        reference = [np.moveaxis(array_of(expected[state.name]), state.batch_axis, 0) for state in manifest.states]
        runs = [(slice(None), [steps]), (slice(None), [1] * steps)] + [(slice(i, i + 1), [steps]) for i in range(BATCH)]
        for streams, chunks in runs:
            found = _run(step, tokens[:steps, streams], chunks)
            for state, value, whole in zip(manifest.states, found, reference, strict=True):
                error = float(np.abs(value - whole[streams]).max())
                bound = tolerance * largest
                if not error <= bound:
                    raise GateFailed(
                        f"parity of {PROMPT_GRAPH}: state {state.name!r} after step {steps} is off by {error:.3g},"
                        f" allowed {bound:.3g}; nothing was written"
                    )
                if error / bound > worst.max_abs_error / worst.bound:
                    worst = GateFigure(max_abs_error=error, bound=bound, steps=STEPS, batch=BATCH)
    return msgspec.structs.replace(prompt, parity=worst), graph


def _run(step: StepGraph, tokens: np.ndarray, chunks: list[int]) -> list[np.ndarray]:
    """The states after ``tokens: int64[time, batch]`` in calls of ``chunks`` steps."""
    batch = tokens.shape[1]
    states = [np.zeros((batch, *spec.row_shape), spec.dtype) for spec in step.manifest.states]
    for part in np.split(tokens, np.cumsum(chunks)[:-1]):
        _, states = step([part], states)
    return states
