"""Durations with a unit, as the command line and the configuration write them."""

from __future__ import annotations

import re

from edge_rnn.contract.errors import UsageError

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)")


def parse_duration(text: str, name: str) -> float:
    """Seconds of ``"100ms"``, ``"30s"``, ``"5m"``, ``"2h"``, ``"1d"``; ``"0"`` needs no unit.

    Raises `UsageError` naming the setting ``name``.
    """
    text = text.strip()
    if text == "0":
        return 0.0
    found = _DURATION.fullmatch(text)
    if not found:
        raise UsageError(f"{name} is {text!r}, expected a duration with a unit such as 100ms, 30s, 5m or 2h")
    return float(found[1]) * _SECONDS[found[2]]
