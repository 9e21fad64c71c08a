"""The gradient of every cell on a recipe's data, and of the trained model: for ``edge-rnn train --diagnose``."""

from __future__ import annotations

import msgspec
import torch

from edge_rnn.models import SequenceModel
from edge_rnn.recipes.preparing import prepare
from edge_rnn.recipes.recipe import Parts, Recipe
from edge_rnn.training import Settings, deterministic
from edge_rnn.training.diagnosis import Diagnosis, diagnose, draw_diagnoses

PICTURE, WORDS = "diagnosis.png", "diagnosis.txt"
CELLS = {
    "elman tanh": {"cell": "elman", "activation": "tanh"},
    "elman relu": {"cell": "elman", "activation": "relu"},
    "elman sigmoid": {"cell": "elman", "activation": "sigmoid"},
    "jordan tanh": {"cell": "jordan", "activation": "tanh"},
    "lstm": {"cell": "lstm", "activation": "tanh"},
    "gru": {"cell": "gru", "activation": "tanh"},
}
BATCH = 64
"""As many sequences of the validation part are looked at, at most."""


def diagnose_cells(
    recipe: Recipe, settings: Settings, parts: Parts, trained: SequenceModel, *, seed: int = 0
) -> dict[str, Diagnosis]:
    """Each of `CELLS` as it begins, in the recipe's widths, and the trained model last; all on the same sequences."""
    whole = parts.validation
    if whole.lengths is not None:
        whole = whole.pick(torch.argsort(whole.lengths, descending=True)[:BATCH])
        whole = whole.pick(torch.arange(whole.count))
    x = whole.x[: int(whole.steps if whole.lengths is None else whole.lengths.min()), :BATCH]
    found = {}
    for name, change in CELLS.items():
        with deterministic(seed):
            fresh = prepare(recipe, msgspec.structs.replace(settings, **change), parts)
        found[f"{name}, fresh"] = diagnose(fresh, x)
    own = f"{settings.cell} {settings.activation}" if settings.cell in ("elman", "jordan") else settings.cell
    found[f"{own}, trained"] = diagnose(trained, x)
    return found


def diagnosis_files(recipe: Recipe, found: dict[str, Diagnosis]) -> dict[str, bytes]:
    """The plot and the words, by file name."""
    title = f"{recipe.name}: how far back the gradient reaches"
    return {PICTURE: draw_diagnoses(found, title), WORDS: diagnosis_words(found).encode()}


def diagnosis_words(found: dict[str, Diagnosis]) -> str:
    """One line a cell."""
    width = max(map(len, found))
    return "".join(f"{name:<{width}}  {diagnosis}\n" for name, diagnosis in found.items())
