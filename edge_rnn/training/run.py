"""The run that a training leaves: model, weights, history, curves and a report, written whole.

::

    RUN/model.json            name and arguments of the model, features, labels, task, recipe, score
    RUN/weights.safetensors   its tensors, scalers included
    RUN/history.json          losses of every epoch
    RUN/curves.png            the same as a picture
    RUN/report.txt            score beside the baseline, for a person
    RUN/report.html           the same with curves, confusion or residuals, and examples
    RUN/run.toml              all settings and the seed, as ``edge-rnn train --config`` takes them
    RUN/events/               TensorBoard's event files
    RUN/streams.csv           a recipe's held-out streams as rows for `edge-rnn produce` and `replay`
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from edge_rnn.models.saving import save
from edge_rnn.models.sequence import SequenceModel
from edge_rnn.training.curves import draw_curves
from edge_rnn.training.history import History
from edge_rnn.training.settings import Settings

HISTORY = "history.json"
CURVES = "curves.png"
REPORT = "report.txt"


def write_run(
    path: Path | str,
    model: SequenceModel,
    history: History,
    settings: Settings,
    *,
    recipe: str | None = None,
    score: dict[str, Any] | None = None,
    seed: int | None = None,
    report: str = "",
    more: Mapping[str, bytes] | None = None,
) -> None:
    """Write the run directory in one move; an earlier run there is replaced.

    ``score`` is kept in ``model.json`` as it is; ``more`` holds further files by name. Raises `UsageError` when ``path`` is something
    else than a run or cannot be written.
    """
    widths = settings.hidden if isinstance(settings.hidden, tuple) else (settings.hidden,) * settings.layers
    title = f"{recipe or model.name}: {model.name}, {' + '.join(map(str, widths))} units"
    files = {
        HISTORY: json.dumps(dataclasses.asdict(history), indent=2).encode() + b"\n",
        CURVES: draw_curves(history, title),
        REPORT: report.encode(),
        **(more or {}),
    }
    described = {**msgspec.to_builtins(settings), "seed": seed}
    save(path, model, recipe=recipe, score=score, settings=described, files=files)
