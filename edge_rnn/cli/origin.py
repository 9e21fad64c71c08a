"""Checks that ``runtime``, ``exporters`` and ``deploy`` are ours: these are names a user may have too."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import edge_rnn
from edge_rnn.contract.errors import EdgeRnnError

PACKAGES = ("exporters", "runtime", "deploy")


def check_origin() -> None:
    """Raise `EdgeRnnError` naming the path when one of our packages is shadowed by another of that name."""
    home = Path(edge_rnn.__file__).resolve().parent.parent
    for name in PACKAGES:
        spec = importlib.util.find_spec(name)
        found = Path(spec.origin).resolve().parent if spec and spec.origin else None
        if found != home / name:
            raise EdgeRnnError(
                f"the package {name!r} comes from {found or 'nowhere'}, expected {home / name};"
                " rename or move yours, or run the command from another directory"
            )
