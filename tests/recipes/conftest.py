"""Every recipe trained once a session, shortened, and exported once."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path

import msgspec
import pytest

from edge_rnn.contract.bundle import Bundle
from edge_rnn.recipes import RECIPES, find_recipe
from edge_rnn.recipes.recipe import Recipe
from edge_rnn.recipes.reporting import Outcome
from edge_rnn.recipes.sdist import data_folder
from edge_rnn.recipes.train import train
from exporters.export import export_bundle
from exporters.source import Source

SHORT = {
    "activity": {"epochs": 12},
    "cartpole": {"epochs": 3},
    "dates": {"epochs": 4, "l2": 0.0},
    "digits": {"epochs": 8},
    "heartbeat": {"epochs": 12},
    "keyword": {"epochs": 16},
    "music": {"epochs": 5, "hidden": 96, "learning_rate": 0.01, "dropout": 0.0},
    "sentiment": {"epochs": 5, "hidden": 32, "learning_rate": 0.004},
    "speaker": {"epochs": 25},
    "stocks": {"epochs": 3},
    "tagging": {"epochs": 4},
    "text": {"epochs": 1, "hidden": 96, "learning_rate": 0.008, "l2": 0.00003},
    "weather": {"epochs": 15},
}
"""Settings of the shortened form, in which each recipe must beat its baseline, too (`text` one of shorter contexts)."""

_BUNDLES: dict[str, Bundle] = {}


@pytest.fixture(scope="session", autouse=True)
def source_distributions() -> None:
    """Fetch by pip, from its registry, what a recipe reads from a source distribution, if it is not there."""
    target = data_folder()
    if not (target / "vaderSentiment-3.3.2.tar.gz").is_file():
        call = ["download", "--quiet", "--no-deps", "--no-binary", "vaderSentiment", "vaderSentiment==3.3.2"]
        subprocess.run([sys.executable, "-m", "pip", *call, "-d", str(target)], check=True)


@cache
def trained_recipe(name: str) -> tuple[Recipe, Outcome]:
    """A recipe and what its shortened training gave, seed 1."""
    recipe = find_recipe(name)
    return recipe, train(recipe, msgspec.structs.replace(recipe.settings, **SHORT[name]), seed=1)


@pytest.fixture(scope="session", params=sorted(RECIPES))
def trained(request: pytest.FixtureRequest) -> tuple[Recipe, Outcome]:
    """Each recipe in turn."""
    return trained_recipe(request.param)


def exported_recipe(name: str, folder: Path) -> tuple[Recipe, Outcome, Bundle]:
    """A recipe with the bundle of its shortened training, in ``folder`` the first time that it is asked for."""
    if name not in _BUNDLES:
        _BUNDLES[name] = export_bundle(Source(trained_recipe(name)[1].model, name, {}), folder / name)
    return (*trained_recipe(name), _BUNDLES[name])


@pytest.fixture(scope="session")
def exported(
    trained: tuple[Recipe, Outcome], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Recipe, Outcome, Bundle]:
    """Each recipe in turn, with its bundle."""
    return exported_recipe(trained[0].name, tmp_path_factory.mktemp("recipes"))
