"""Generation: prompts without a broker through the same core as a daemon's, and what a daemon needs for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from edge_rnn.contract.bundle import Bundle, open_bundle
from edge_rnn.contract.errors import UsageError
from edge_rnn.contract.stepgraph import StepGraph, prompt_manifest
from runtime.core.generation import Generator, Piece, Request, check_request
from runtime.core.philox import stream_number
from runtime.core.scheduler import Limits
from runtime.core.tokens import Tokens
from runtime.daemon.settings import RunSettings
from runtime.engines.cpu import CpuEngine, open_cpu_engine
from runtime.engines.protocol import Engine


def open_generator(bundle: Bundle, capacity: int) -> Generator:
    """A generator on the CPU whose first ``capacity`` slots hold streams that have seen nothing.

    Raises `UsageError` when the bundle does not generate.
    """
    engine = open_cpu_engine(bundle)
    engine.grow(capacity)
    engine.reset(np.arange(capacity))
    return generator_on(engine, bundle)


def generator_on(engine: Engine, bundle: Bundle, *, threads: int = 1, limits: Limits | None = None) -> Generator:
    """A generator whose streams' states are in ``engine``. Raises `UsageError` when the bundle does not generate."""
    tokens = Tokens(bundle.manifest)
    prompt = bundle.manifest.prompt
    if prompt is None:
        return Generator(engine, tokens, limits=limits)
    first = [bundle.initial_state(spec) for spec in bundle.manifest.states]
    step = StepGraph(prompt_manifest(bundle.manifest, prompt), str(bundle.path / prompt.graph), threads=threads)
    return Generator(engine, tokens, prompt_engine=CpuEngine(step, first), limits=limits)


def check_settings(settings: RunSettings) -> None:
    """Raise `UsageError` for what does not go together with ``--mode generate``."""
    for name, given, why in (
        ("codec f32", settings.codec != "json", "prompts are JSON"),
        ("output-codec", settings.output_codec not in (None, "json"), "token records are JSON"),
        ("delivery at-least-once", settings.delivery != "exactly-once", "a reply is exactly-once or not the same"),
        ("idle-reset", settings.idle_reset is not None, "a tombstone ends a stream"),
        ("max-streams", settings.max_streams is not None, "a tombstone ends a stream"),
        ("on-new-model warmup", (settings.on_new_model or "").startswith("warmup"), "there is nothing to replay"),
        ("shadow", settings.shadow is not None, "a shadow compares one output a record"),
    ):
        if given:
            raise UsageError(f"--{name} does not go together with --mode generate: {why}")


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
