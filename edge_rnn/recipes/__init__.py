"""Recipes: one task a file, from data to a scored run. Nothing heavy is imported before a recipe is asked for."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from edge_rnn.contract.errors import UsageError

if TYPE_CHECKING:
    from edge_rnn.recipes.recipe import Recipe

RECIPES = {"activity": "edge_rnn.recipes.activity", "weather": "edge_rnn.recipes.weather"}
"""Name to the module whose ``RECIPE`` it is."""

STREAMS = "streams.csv"
"""The file of a run that holds the recipe's held-out streams."""


def check_name(name: str) -> None:
    """Raise `UsageError` listing all recipes when there is none called ``name``."""
    if name not in RECIPES:
        raise UsageError(f"there is no recipe {name!r}; give one of {', '.join(sorted(RECIPES))}")


def find_recipe(name: str) -> Recipe:
    """The recipe ``name``; imports torch. Raises `UsageError` for an unknown name."""
    check_name(name)
    recipe: Recipe = importlib.import_module(RECIPES[name]).RECIPE
    return recipe
