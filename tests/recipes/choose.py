"""Chooses settings by the validation parts alone: ``python -m tests.recipes.choose [NAME ...]``.

It trains each recipe with every candidate below, exports it, and writes down the validation loss of
the kept epoch and the export's parity in ``edge_rnn/recipes/tried.json``. The best is the candidate
with the least validation loss among those whose parity holds with room to spare; the test part is
not looked at, and the seeds are none of those whose test scores are reported. A candidate that
stands there already is not trained again, unless ``--anew`` is given.
"""

from __future__ import annotations

import sys
import time
from statistics import fmean

import msgspec

from edge_rnn.recipes import RECIPES, find_recipe
from edge_rnn.recipes.measured import TRIED, Tried, all_tried, best
from edge_rnn.recipes.recipe import Recipe
from edge_rnn.recipes.train import train_model
from tests.recipes.measure import parity

SEEDS = (100, 101)
SLOW = ("dates", "music", "text")
"""Recipes that are tried with the first seed only."""

CANDIDATES: dict[str, list[dict[str, object]]] = {
    "activity": [
        {"hidden": 32, "dropout": 0.3, "l2": 0.0001},
        {"hidden": 32, "dropout": 0.3, "l2": 0.0005},
        {"hidden": 48, "dropout": 0.3, "l2": 0.0005},
        {"hidden": 32, "dropout": 0.5, "l2": 0.0001},
    ],
    "cartpole": [
        {"hidden": 32, "l2": 0.0005},
        {"hidden": 32, "l2": 0.0002},
        {"hidden": 48, "l2": 0.0005},
    ],
    "dates": [
        {"hidden": 128, "l2": 0.0002, "learning_rate": 0.003},
        {"hidden": 128, "l2": 0.00005, "learning_rate": 0.003},
        {"hidden": 96, "l2": 0.00005, "learning_rate": 0.005},
        {"hidden": 96, "l2": 0.0001, "learning_rate": 0.005},
        {"hidden": 128, "l2": 0.00005, "learning_rate": 0.005},
    ],
    "digits": [
        {"hidden": 64, "inner_dropout": 0.1, "l2": 0.001},
        {"hidden": 64, "inner_dropout": 0.1, "l2": 0.0003},
        {"hidden": 96, "inner_dropout": 0.2, "l2": 0.0003},
    ],
    "heartbeat": [
        {"hidden": 24, "inner_dropout": 0.1, "l2": 0.0001},
        {"hidden": 24, "inner_dropout": 0.0, "l2": 0.0001},
        {"hidden": 16, "inner_dropout": 0.0, "l2": 0.0003},
        {"hidden": 24, "inner_dropout": 0.05, "l2": 0.0001},
        {"hidden": 24, "inner_dropout": 0.1, "l2": 0.0003},
    ],
    "keyword": [
        {"hidden": 64, "dropout": 0.2, "inner_dropout": 0.2, "l2": 0.001},
        {"hidden": 64, "dropout": 0.2, "inner_dropout": 0.2, "l2": 0.0003},
        {"hidden": 48, "dropout": 0.2, "inner_dropout": 0.1, "l2": 0.001},
        {"hidden": 64, "dropout": 0.3, "inner_dropout": 0.3, "l2": 0.0003},
        {"hidden": 64, "dropout": 0.3, "inner_dropout": 0.2, "l2": 0.0005},
    ],
    "music": [
        {"hidden": 128, "dropout": 0.3, "l2": 0.0001},
        {"hidden": 128, "dropout": 0.3, "l2": 0.0002},
        {"hidden": 128, "dropout": 0.2, "l2": 0.0002},
        {"hidden": 128, "dropout": 0.2, "l2": 0.00015},
    ],
    "sentiment": [
        {"hidden": 64, "dropout": 0.5, "l2": 0.0001},
        {"hidden": 64, "dropout": 0.5, "l2": 0.0003},
        {"hidden": 32, "dropout": 0.6, "l2": 0.0003},
        {"hidden": 32, "dropout": 0.5, "l2": 0.0001},
        {"hidden": 64, "dropout": 0.6, "l2": 0.0001},
    ],
    "speaker": [
        {"hidden": 48, "inner_dropout": 0.2, "l2": 0.0003},
        {"hidden": 48, "inner_dropout": 0.2, "l2": 0.001},
        {"hidden": 64, "inner_dropout": 0.3, "l2": 0.0003},
    ],
    "stocks": [
        {"hidden": 8, "l2": 0.01},
        {"hidden": 8, "l2": 0.03},
        {"hidden": 4, "l2": 0.01},
    ],
    "tagging": [
        {"hidden": 48, "dropout": 0.4, "l2": 0.0001},
        {"hidden": 48, "dropout": 0.5, "l2": 0.0003},
        {"hidden": 32, "dropout": 0.5, "l2": 0.0003},
        {"hidden": 64, "dropout": 0.6, "l2": 0.0003},
        {"hidden": 24, "dropout": 0.6, "l2": 0.0003},
        {"hidden": 16, "dropout": 0.5, "l2": 0.0003},
        {"hidden": 32, "dropout": 0.6, "l2": 0.001},
        {"hidden": 24, "dropout": 0.5, "l2": 0.001},
        {"hidden": 48, "dropout": 0.5, "l2": 0.001},
    ],
    "text": [
        {"hidden": 160, "l2": 0.0001, "epochs": 4},
        {"hidden": 128, "l2": 0.0001, "epochs": 5},
        {"hidden": 128, "l2": 0.0002, "epochs": 5},
        {"hidden": 192, "l2": 0.0001, "epochs": 4},
        {"hidden": 160, "l2": 0.0001, "epochs": 8},
        {"hidden": 160, "l2": 0.00007, "epochs": 8},
    ],
    "weather": [
        {"hidden": 16, "l2": 0.001, "learning_rate": 0.005},
        {"hidden": 16, "l2": 0.003, "learning_rate": 0.005},
        {"hidden": 32, "l2": 0.001, "learning_rate": 0.003},
        {"hidden": 8, "l2": 0.001, "learning_rate": 0.005},
    ],
}


def attempt(recipe: Recipe, changes: dict[str, object]) -> Tried:
    """Train with these changes from each seed; the test part stays closed."""
    losses, parities, began = [], [], time.process_time()
    seeds = SEEDS[:1] if recipe.name in SLOW else SEEDS
    for seed in seeds:
        model, history = train_model(recipe, msgspec.structs.replace(recipe.settings, **changes), seed=seed)
        losses.append(history.validation[history.best_epoch - 1])
        parities.append(parity(recipe, model))
    return Tried(
        settings=changes,
        validation_loss=round(fmean(losses), 5),
        parity=float(f"{max(parities):.2g}"),
        seeds=seeds,
        seconds=round((time.process_time() - began) / len(seeds), 1),
    )


def main(arguments: list[str]) -> None:
    """See the module's docstring."""
    anew = "--anew" in arguments
    for name in [one for one in arguments if one != "--anew"] or sorted(RECIPES):
        recipe, found = find_recipe(name), []
        known = [] if anew else all_tried().get(name, [])
        for changes in CANDIDATES[name]:
            same = [one for one in known if one.settings == changes]
            found.append(same[0] if same else attempt(recipe, changes))
            print(name, found[-1], flush=True)
        TRIED.write_bytes(
            msgspec.json.format(msgspec.json.encode(dict(sorted({**all_tried(), name: found}.items()))), indent=2)
            + b"\n"
        )
        all_tried.cache_clear()
        print(f"{name}: best is {best(found).settings}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
