"""Every recipe trained once a session, shortened, and exported once."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import msgspec
import pytest
import torch

from edge_rnn.contract.bundle import Bundle, open_bundle
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
    "dates": {"epochs": 4, "l2": 0.0, "inner_dropout": 0.0},
    "digits": {"epochs": 8},
    "heartbeat": {"epochs": 12},
    "keyword": {"epochs": 16},
    "music": {"epochs": 10, "hidden": 96, "learning_rate": 0.005, "dropout": 0.0},
    "sentiment": {"epochs": 5, "hidden": 32, "learning_rate": 0.004},
    "speaker": {"epochs": 25},
    "stocks": {"epochs": 3},
    "tagging": {"epochs": 4},
    "text": {"epochs": 1, "hidden": 96, "learning_rate": 0.008, "l2": 0.00003},
    "weather": {"epochs": 15},
}
"""Settings of the shortened form, in which each recipe must beat its baseline, too (`text` one of shorter contexts)."""

_SHARED: list[Path] = []
"""The session's folder, the same for all of its processes."""


@pytest.fixture(scope="session", autouse=True)
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Where trained recipes are kept, so that no two processes of a session train the same one."""
    base = tmp_path_factory.getbasetemp()
    _SHARED.append(base.parent if "PYTEST_XDIST_WORKER" in os.environ else base)


@pytest.fixture(scope="session", autouse=True)
def source_distributions() -> None:
    """Fetch by pip, from its registry, what a recipe reads from a source distribution, if it is not there."""
    target = data_folder()
    if not (target / "vaderSentiment-3.3.2.tar.gz").is_file():
        call = ["download", "--quiet", "--no-deps", "--no-binary", "vaderSentiment", "vaderSentiment==3.3.2"]
        subprocess.run([sys.executable, "-m", "pip", *call, "-d", str(target)], check=True)


@cache
def exported_recipe(name: str) -> tuple[Recipe, Outcome, Bundle]:
    """A recipe, what its shortened training gave (seed 1), and the bundle of that."""
    recipe, folder = find_recipe(name), _SHARED[0] / f"recipe-{name}"
    folder.mkdir(exist_ok=True)
    kept, bundle = folder / "outcome.pt", folder / "bundle"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.exists():
            outcome = train(recipe, msgspec.structs.replace(recipe.settings, **SHORT[name]), seed=1)
            export_bundle(Source(outcome.model, name, {}), bundle)
            torch.save(outcome, kept)
    return recipe, torch.load(kept, weights_only=False), open_bundle(bundle)


@pytest.fixture(scope="session", params=sorted(RECIPES))
def exported(request: pytest.FixtureRequest) -> tuple[Recipe, Outcome, Bundle]:
    """Each recipe in turn, with its bundle."""
    return exported_recipe(request.param)


@pytest.fixture(scope="session")
def trained(exported: tuple[Recipe, Outcome, Bundle]) -> tuple[Recipe, Outcome]:
    """Each recipe in turn."""
    return exported[:2]
