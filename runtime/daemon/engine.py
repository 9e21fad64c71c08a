"""A daemon's engine, as its settings ask for it: chosen, told in the log, and counted in the metrics."""

from __future__ import annotations

import logging
from pathlib import Path

from edge_rnn.contract.bundle import Bundle
from edge_rnn.contract.tensorrt import present_gpu
from runtime.daemon.settings import RunSettings
from runtime.engines.choice import TunedEngine
from runtime.engines.devices import open_engine
from runtime.observe.board import Board, BoardCollector
from runtime.observe.metrics import Metrics

log = logging.getLogger("edge_rnn.daemon")


def chosen_engine(bundle: Bundle, settings: RunSettings, metrics: Metrics) -> TunedEngine:
    """Open the engine that ``--device`` names or the fastest one; it has repeated the golden vectors.

    Raises `EngineError`, `GateFailed`, `MissingDependency`, `UsageError`.
    """
    device = settings.device
    if settings.mode == "generate" and device == "auto":
        device = "cpu"
        if present_gpu() is not None:
            log.info("replies are made on the CPU, which is faster for a few at once; --device cuda for hundreds")
    choice = open_engine(
        bundle,
        device,
        threads=settings.threads,
        folder=None if settings.arena_dir is None else Path(settings.arena_dir),
        cache_dir=settings.engines,
        precision=settings.engine_precision,
    )
    tuning = choice.engine.tuning
    metrics.chose(choice.name, choice.rates, choice.failed)
    metrics.registry.register(BoardCollector(Board()))
    log.info(
        "model calls",
        extra={
            "engine": choice.name,
            "calls": getattr(choice.engine, "how", "") or "direct",
            "streams": tuning.streams,
            "threads": tuning.threads,
            "rows_per_second": round(choice.rates.get(choice.name) or max(tuning.rates.values(), default=0.0)),
        },
    )
    return choice.engine
