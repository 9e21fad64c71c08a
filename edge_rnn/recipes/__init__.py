"""Recipes: one task a file, from data to a scored run. Nothing heavy is imported before a recipe is asked for."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from edge_rnn.contract.errors import UsageError

if TYPE_CHECKING:
    from edge_rnn.recipes.recipe import Recipe

RECIPES = {
    name: f"edge_rnn.recipes.{name}"
    for name in (
        "activity",
        "cartpole",
        "dates",
        "digits",
        "heartbeat",
        "keyword",
        "music",
        "sentiment",
        "speaker",
        "stocks",
        "tagging",
        "text",
        "weather",
    )
}
"""Name to the module whose ``RECIPE`` it is, or whose ``recipe`` makes it."""

STREAMS = "streams.csv"
"""The file of a run that holds the recipe's held-out streams."""

PROMPTS = "prompts.txt"
"""The file of a run that holds held-out prompts, a line each."""


def check_name(name: str) -> None:
    """Raise `UsageError` listing all recipes when there is none called ``name``."""
    if name not in RECIPES:
        raise UsageError(f"there is no recipe {name!r}; give one of {', '.join(sorted(RECIPES))}")


def find_recipe(name: str) -> Recipe:
    """The recipe ``name``; imports torch. Raises `UsageError` for an unknown name."""
    check_name(name)
    module = importlib.import_module(RECIPES[name])
    recipe: Recipe = module.RECIPE if hasattr(module, "RECIPE") else module.recipe()
    return recipe
