"""A TOML file for a run: settings and the seed, read from a user's file and written into every run.

The run's own ``run.toml``, given back as ``--config``, trains the same weights again.
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import msgspec

from edge_rnn.contract.errors import UsageError
from edge_rnn.training.settings import Settings

RUN_FILE = "run.toml"
OTHERS = ("recipe", "seed")
"""Keys that a file may have beside the settings."""


def read_run_file(path: Path) -> dict[str, str]:
    """Every key with its value as `override` takes it. Raises `UsageError` naming the file and what is wrong."""
    try:
        found = tomllib.loads(path.read_text())
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}; give an existing TOML file to --config") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not TOML: {error}") from error
    known = [*OTHERS, *Settings.__struct_fields__]
    given = {name.replace("-", "_"): value for name, value in found.items()}
    if strange := sorted(set(given) - set(known)):
        raise UsageError(f"{path} sets {strange[0]!r}, which is unknown; known are {', '.join(known)}")
    return {name: _text(path, name, value) for name, value in given.items()}


def write_run_file(recipe: str, settings: Settings, seed: int | None) -> bytes:
    """All of a run's settings, also those that are the recipe's own."""
    given = {"recipe": recipe, "seed": seed, **msgspec.to_builtins(settings)}
    return "".join(f"{name} = {json.dumps(value)}\n" for name, value in given.items() if value is not None).encode()


def _text(path: Path, name: str, value: Any) -> str:
    """A value as ``--set`` would write it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (str, int, float)):
        return str(value)
    if isinstance(value, list) and value and all(isinstance(one, int) for one in value):
        return ",".join(map(str, value))
    raise UsageError(f"{path} sets {name!r} to {value!r}, expected text, a number, true or false, or whole numbers")
