"""What a bundle may be called, and which tolerances its gates take."""

from __future__ import annotations

import re

from edge_rnn.contract.errors import UsageError
from edge_rnn.contract.gates import TOLERANCE

LARGEST_TOLERANCE = 1e-3
"""Beyond this a graph that is wrong could pass."""


def check_tolerance(tolerance: float) -> None:
    """Raise `UsageError` unless it is between `TOLERANCE` and `LARGEST_TOLERANCE`."""
    if not TOLERANCE <= tolerance <= LARGEST_TOLERANCE:
        raise UsageError(f"the tolerance is {tolerance:g}; give one from {TOLERANCE:g} to {LARGEST_TOLERANCE:g}")


def check_name(name: str) -> str:
    """A bundle's name: letters, digits, ``-``, ``_`` and ``.``. Raises `UsageError`."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
        raise UsageError(
            f"the name {name!r} cannot name a bundle: give --name with up to 64 letters, digits, '-', '_' and '.'"
        )
    return name
