"""Follows a recipe: load, scale, build, train, score, and write the run."""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from edge_rnn.models import SequenceModel, Watcher
from edge_rnn.models.saving import check_target
from edge_rnn.recipes import PROMPTS, STREAMS
from edge_rnn.recipes.diagnosing import diagnose_cells, diagnosis_files
from edge_rnn.recipes.preparing import prepare
from edge_rnn.recipes.recipe import Recipe, Stream
from edge_rnn.recipes.reporting import PAGE, Outcome, report_of
from edge_rnn.training import History, Progress, Settings, deterministic, fit, write_run
from edge_rnn.training.events import EVENTS
from edge_rnn.training.report.page import draw_report
from edge_rnn.training.run_file import RUN_FILE, write_run_file


def train(
    recipe: Recipe,
    settings: Settings,
    *,
    seed: int = 0,
    progress: Progress | None = None,
    diagnose: bool = False,
    folder: Path | None = None,
) -> Outcome:
    """Train ``recipe`` from a seed, on one thread; the same seed gives the same weights.

    ``diagnose`` looks at the gradient of every cell, too; ``folder`` is for checkpoints and events
    (see `fit`). Raises `UsageError` for settings that do not go together, `EdgeRnnError` when it diverges.
    """
    began = time.monotonic()
    model, history = train_model(recipe, settings, seed=seed, progress=progress, folder=folder)
    with deterministic(seed):
        score = recipe.score(model)
    seconds = time.monotonic() - began
    found = diagnose_cells(recipe, settings, recipe.load(), model, seed=seed) if diagnose else {}
    return Outcome(model, history, score, seconds, found)


def train_model(
    recipe: Recipe,
    settings: Settings,
    *,
    seed: int = 0,
    progress: Progress | None = None,
    folder: Path | None = None,
) -> tuple[SequenceModel, History]:
    """As `train`, but the test part is not looked at."""
    with deterministic(seed):
        parts = recipe.load()
        model = prepare(recipe, settings, parts)
        loss = recipe.loss(model)
        history = fit(model, parts.train, parts.validation, loss, settings, progress=progress, folder=folder)
        if isinstance(model, Watcher):
            model.calibrate(parts.validation.x)
    return model, history


def train_run(
    recipe: Recipe,
    path: Path | str,
    settings: Settings,
    *,
    seed: int = 0,
    progress: Progress | None = None,
    diagnose: bool = False,
) -> Outcome:
    """Train and write the run directory ``path``. Raises `UsageError` before training when it cannot be written.

    Until then checkpoints and event files are in ``path.training``; a training that was killed goes
    on from there.
    """
    path = Path(path)
    check_target(path)
    folder = path.with_name(f"{path.name}.training")
    outcome = train(recipe, settings, seed=seed, progress=progress, diagnose=diagnose, folder=folder)
    with deterministic(seed):
        page = draw_report(report_of(recipe, settings, outcome, seed))
    more = {
        RUN_FILE: write_run_file(recipe.name, settings, seed),
        PAGE: page.encode(),
        **{f"{EVENTS}/{file.name}": file.read_bytes() for file in sorted((folder / EVENTS).iterdir())},
    }
    if streams := recipe.streams():
        more[STREAMS] = rows_of(streams, recipe.features)
    if prompts := recipe.prompts():
        more[PROMPTS] = "".join(f"{prompt}\n" for prompt in prompts).encode()
    if outcome.diagnoses:
        more |= diagnosis_files(recipe, outcome.diagnoses)
    write_run(
        path,
        outcome.model,
        outcome.history,
        settings,
        recipe=recipe.name,
        score=dataclasses.asdict(outcome.score),
        seed=seed,
        report=report(recipe, outcome, seed),
        more=more,
    )
    shutil.rmtree(folder, ignore_errors=True)
    return outcome


def rows_of(streams: Sequence[Stream], features: Sequence[str]) -> bytes:
    """Streams as CSV, interleaved as they would come live: a row a step, ``key`` and the features."""
    lines = [",".join(["key", *features])]
    for step in range(max(len(stream.rows) for stream in streams)):
        for stream in streams:
            if step < len(stream.rows):
                lines.append(",".join([stream.key, *map(str, stream.rows[step].tolist())]))
    return "\n".join(lines).encode() + b"\n"


def report(recipe: Recipe, outcome: Outcome, seed: int) -> str:
    """The run in a few lines, for a person."""
    history = outcome.history
    kept = f"epoch {history.best_epoch} of {len(history.train)}, validation loss"
    lines = {
        "recipe": f"{recipe.name}: {recipe.purpose}",
        "score": str(outcome.score),
        "baseline": recipe.baseline,
        "kept": f"{kept} {history.validation[history.best_epoch - 1]:.4f}",
        "seed": f"{seed}, {outcome.seconds:.1f} s",
        "data": recipe.source,
        "licence": recipe.licence,
    }
    return "".join(f"{name + ':':10}{text}\n" for name, text in lines.items())
