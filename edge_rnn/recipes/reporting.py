"""A recipe's run as a report page."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from edge_rnn.models import SequenceModel
from edge_rnn.recipes.recipe import Recipe, Score
from edge_rnn.training import History, Settings
from edge_rnn.training.diagnosis import Diagnosis
from edge_rnn.training.report.page import Report

PAGE = "report.html"
"""The page's file in a run."""


@dataclass(frozen=True)
class Outcome:
    """A trained model, how it came about, and its score on the test part."""

    model: SequenceModel
    history: History
    score: Score
    seconds: float
    diagnoses: dict[str, Diagnosis] = field(default_factory=dict)


def report_of(recipe: Recipe, settings: Settings, outcome: Outcome, seed: int) -> Report:
    """What the page says of a run."""
    answers, history, score = recipe.answers(outcome.model), outcome.history, outcome.score
    weights = sum(parameter.numel() for parameter in outcome.model.parameters())
    verdict = "better" if score.beats_baseline else "not better"
    figures = [
        (score.measure, f"{score.value:.3f}", "on the test part"),
        ("baseline", f"{score.baseline:.3f}", f"the model is {verdict}"),
        ("epoch kept", f"{history.best_epoch} of {len(history.train)}", "least validation loss"),
        ("trained in", f"{outcome.seconds:.1f} s", f"{weights:,} weights, seed {seed}"),
    ]
    defaults = msgspec.to_builtins(Settings())
    chosen = ", ".join(f"{k} {v}" for k, v in msgspec.to_builtins(settings).items() if v != defaults[k] or k == "cell")
    facts = {"settings": chosen, "baseline": recipe.baseline, "data": recipe.source, "licence": recipe.licence}
    facts |= {f"gradient, {name}": str(found) for name, found in outcome.diagnoses.items()}
    return Report(
        title=recipe.name,
        purpose=f"{recipe.purpose[0].upper()}{recipe.purpose[1:]}.",
        figures=figures,
        history=history,
        said=answers.said,
        truth=answers.truth,
        labels=recipe.labels,
        unit=recipe.unit,
        examples=recipe.examples(outcome.model),
        facts=facts,
    )
