"""Which engine runs a bundle here: each one that opens is timed on the golden inputs, and the fastest is taken."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from edge_rnn.contract.bundle import Bundle
from edge_rnn.contract.errors import EdgeRnnError, EngineError
from edge_rnn.contract.golden import load_golden
from runtime.engines.protocol import Engine
from runtime.engines.tuning import Tuning

log = logging.getLogger("edge_rnn.engines")

TRIES = 8
"""Calls that are timed; the fastest counts."""


class TunedEngine(Engine, Protocol):
    """An engine that knows which calls are best for it."""

    tuning: Tuning


Opener = Callable[[], TunedEngine]
"""Opens an engine that has repeated the golden vectors. Raises the contract's errors where it cannot run here."""


@dataclass(frozen=True)
class Choice:
    """``engine`` is called ``name``; ``rates``: steps a second of all that opened; ``failed``: why the others did not."""

    engine: TunedEngine
    name: str
    rates: Mapping[str, float] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)


def choose(
    bundle: Bundle,
    openers: Mapping[str, Opener],
    *,
    streams: int | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Choice:
    """Open all of ``openers``, and take the one that does most steps a second on the golden inputs.

    ``streams`` of a call that is timed; the default is what the CPU's trial found best, if there is a CPU. A small
    model is faster on a CPU: a call of a GPU costs it a launch and a way there and back. One that does not open is
    warned of. One alone is taken untimed. Raises the last one's error when none opens, `EngineError` when none runs.
    """
    opened: dict[str, TunedEngine] = {}
    failed: dict[str, str] = {}
    for number, (name, opener) in enumerate(openers.items()):
        try:
            opened[name] = opener()
        except EdgeRnnError as error:
            if number == len(openers) - 1 and not opened:
                raise
            failed[name] = str(error)
            log.warning("this bundle does not run with %s here, another engine is taken: %s", name, error)
    if len(opened) == 1:
        ((name, engine),) = opened.items()
        return Choice(engine, name, {}, failed)
    if streams is None:
        streams = next((engine.tuning.streams for engine in opened.values() if engine.tuning.rates), 1024)
    rates: dict[str, float] = {}
    for name in list(opened):
        try:
            rates[name] = _rate(bundle, opened[name], streams, clock)
        except EdgeRnnError as error:
            failed[name] = str(error)
            log.warning("this bundle opens with %s but does not run, another engine is taken: %s", name, error)
    if not rates:
        told = "; ".join(f"{name}: {reason}" for name, reason in failed.items())
        raise EngineError(f"no engine runs {bundle.manifest.name!r} here: {told}")
    best = max(rates, key=lambda name: rates[name])
    return Choice(opened[best], best, rates, failed)


def _rate(bundle: Bundle, engine: TunedEngine, streams: int, clock: Callable[[], float]) -> float:
    """Steps a second of one-step calls on golden inputs; the streams are as new afterwards."""
    slots = np.arange(streams)
    engine.grow(streams)
    engine.reset(slots)
    golden = load_golden(bundle).inputs
    inputs = [np.resize(np.moveaxis(value[:1], 1, 0), (streams, 1, *value.shape[2:])) for value in golden]
    inputs = [np.ascontiguousarray(np.moveaxis(value, 0, 1)) for value in inputs]
    engine.run(slots, inputs)  # the first of its shape makes room, and records
    fastest = float("inf")
    for _ in range(TRIES):
        began = clock()
        engine.run(slots, inputs)
        fastest = min(fastest, clock() - began)
    engine.reset(slots)
    return streams / max(fastest, 1e-9)
