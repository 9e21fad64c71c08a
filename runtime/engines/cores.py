"""How many cores there are to share."""

from __future__ import annotations

import os


def available_cores() -> int:
    """Of this machine's cores, those that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
