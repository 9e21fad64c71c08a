"""Durations and sizes with a unit, as the command line and the configuration write them."""

from __future__ import annotations

import re

from edge_rnn.contract.errors import UsageError

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {"": 1, "B": 1, "KB": 1000, "MB": 1000**2, "GB": 1000**3, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMG]i?B|B|)")
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


def parse_size(text: str, name: str) -> int:
    """Bytes of ``"64MiB"``, ``"10 MB"``, ``"4096"``. Raises `UsageError` naming the setting ``name``."""
    found = _SIZE.fullmatch(text.strip())
    if not found:
        raise UsageError(f"{name} is {text!r}, expected a number of bytes such as 4096, 500KB or 64MiB")
    return int(float(found[1]) * _BYTES[found[2]])
