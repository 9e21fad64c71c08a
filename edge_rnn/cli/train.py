"""``edge-rnn train``: follow a recipe and leave a run."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from edge_rnn.contract.errors import MissingDependency, UsageError

MISSING = "training needs {name}, which is not installed; install it: pip install 'edge-rnn[recipes]'"


def command(
    recipe: Annotated[str, typer.Argument(help="Recipe, e.g. activity; a wrong one is answered with the list.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory of the run; an earlier run is replaced.")],
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting of the recipe; repeat.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Seed; the same one gives the same weights.", show_default="0")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="TOML file with settings and seed, such as the run.toml of another run.")
    ] = None,
    diagnose: Annotated[
        bool, typer.Option("--diagnose", help="Look at the gradient step by step back, for every cell.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Train a recurrent network by a recipe and write the run: model, weights, curves, score, a report.

    Example: edge-rnn train activity -o run --set cell=lstm --set hidden=48

    Each setting is taken from --set, else EDGE_RNN_<NAME>, else the --config file, else the recipe.
    A training that was killed goes on from its last checkpoint when the same command is given again.

    Settings: cell (elman, jordan, lstm, gru), hidden (128 or, a width a layer, 128,64), layers,
    embedding, dropout, inner_dropout, activation (tanh, relu, sigmoid), bidirectional, loss_on
    (all, last), optimiser (adam, rmsprop, sgd), learning_rate, momentum, l1, l2, clip_norm,
    clip_value, chunk, batch, epochs, patience.
    """
    from edge_rnn.recipes import check_name

    check_name(recipe)
    flags = parse_changes(changes or [])
    try:
        from edge_rnn.recipes import find_recipe
        from edge_rnn.recipes.train import train_run
        from edge_rnn.training.progress import progress_for
        from edge_rnn.training.run_file import read_run_file
        from edge_rnn.training.settings import Settings, override
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] in ("edge_rnn", "exporters", "runtime", "deploy"):
            raise
        raise MissingDependency(MISSING.format(name=error.name)) from error

    filed = {} if config is None else read_run_file(config)
    if filed.pop("recipe", recipe) != recipe:
        raise UsageError(f"{config} is of another recipe than {recipe}; give that recipe, or take the line out")
    filed_seed = filed.pop("seed", "0")
    if seed is None and not filed_seed.isdecimal():
        raise UsageError(f"{config} sets seed to {filed_seed}, expected a whole number at least 0")
    seed = int(filed_seed) if seed is None else seed
    named = {name: os.environ.get(f"EDGE_RNN_{name.upper()}") for name in Settings.__struct_fields__}
    chosen = find_recipe(recipe)
    settings = override(
        chosen.settings, {**filed, **{name: text for name, text in named.items() if text is not None}, **flags}
    )
    outcome = train_run(chosen, output, settings, seed=seed, progress=progress_for(sys.stderr), diagnose=diagnose)
    score = outcome.score
    if as_json:
        result = {
            "run": str(output),
            "recipe": recipe,
            "seed": seed,
            "measure": score.measure,
            "score": score.value,
            "baseline": score.baseline,
            "beats_baseline": score.beats_baseline,
            "epochs": len(outcome.history.train),
            "seconds": round(outcome.seconds, 2),
        }
        if diagnose:
            result["gradient"] = {
                name: {"verdict": found.verdict, "factor": found.factor, "reach": found.reach}
                for name, found in outcome.diagnoses.items()
            }
        print(json.dumps(result))
        return
    print(f"{output}: {score}")
    print(f"baseline: {chosen.baseline}; {len(outcome.history.train)} epochs in {outcome.seconds:.1f} s")
    if diagnose:
        from edge_rnn.recipes.diagnosing import PICTURE, diagnosis_words

        print(f"gradient, step by step back ({output / PICTURE}):")
        print(diagnosis_words(outcome.diagnoses), end="")
    print(f"look at: {output / 'report.html'}")
    print(f"next: edge-rnn export {output} -o bundle")


def parse_changes(changes: list[str]) -> dict[str, str]:
    """``["hidden=48"]`` to ``{"hidden": "48"}``. Raises `UsageError` for one without ``=`` or given twice."""
    parsed: dict[str, str] = {}
    for change in changes:
        key, equals, value = change.partition("=")
        key = key.strip().replace("-", "_")
        if not equals or not key:
            raise UsageError(f"--set {change}: expected KEY=VALUE, e.g. --set hidden=48")
        if key in parsed:
            raise UsageError(f"--set {key} is given twice ({parsed[key]} and {value}); give it once")
        parsed[key] = value.strip()
    return parsed
