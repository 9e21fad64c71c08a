"""Generation without a broker: prompts through the same core as a daemon's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from edge_rnn.contract.bundle import Bundle, open_bundle
from edge_rnn.contract.stepgraph import StepGraph, prompt_manifest
from runtime.core.generation import Generator, Piece, Request, check_request
from runtime.core.philox import stream_number
from runtime.core.tokens import Tokens
from runtime.engines.cpu import CpuEngine, open_cpu_engine


def open_generator(bundle: Bundle, capacity: int) -> Generator:
    """A generator on the CPU whose first ``capacity`` slots hold streams that have seen nothing.

    Raises `UsageError` when the bundle does not generate.
    """
    tokens = Tokens(bundle.manifest)
    engine = open_cpu_engine(bundle)
    engine.grow(capacity)
    engine.reset(np.arange(capacity))
    prompt = bundle.manifest.prompt
    if prompt is None:
        return Generator(engine, tokens)
    first = [bundle.initial_state(spec) for spec in bundle.manifest.states]
    step = StepGraph(prompt_manifest(bundle.manifest, prompt), str(bundle.path / prompt.graph))
    return Generator(engine, tokens, prompt_engine=CpuEngine(step, first))


def generate(bundle_path: Path, requests: Sequence[Request]) -> Iterator[Piece]:
    """Reply to all prompts together; a piece's slot is the number of its prompt.

    Each prompt is a stream of its own, keyed by that number. Raises `UsageError` when the bundle
    does not generate and `RecordError` when its vocabulary lacks part of a prompt.
    """
    bundle = open_bundle(bundle_path)
    tokens = Tokens(bundle.manifest)
    for request in requests:
        check_request(tokens, request)
    generator = open_generator(bundle, len(requests))
    for slot, request in enumerate(requests):
        generator.submit(slot, stream_number(0, str(slot).encode()), request)
    while generator.busy:
        yield from generator.advance()
