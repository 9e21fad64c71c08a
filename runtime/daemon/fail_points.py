"""Named places where a test can have the daemon die: ``EDGE_RNN_FAIL_POINT=before-commit:3`` is SIGKILL at the third.

Without that variable a fail point costs one comparison.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping

from edge_rnn.contract.errors import UsageError

NAMES = ("polled", "applied", "sent", "snapshots-sent", "before-commit", "committed", "restored", "revoked", "advanced")


def fail_points(environment: Mapping[str, str] = os.environ) -> Callable[[str], None]:
    """What to call at each named place. Raises `UsageError` for a name or a count that cannot be."""
    wanted = environment.get("EDGE_RNN_FAIL_POINT")
    if not wanted:
        return lambda _name: None
    name, _, count = wanted.partition(":")
    if name not in NAMES or not (count or "1").isdigit():
        raise UsageError(f"EDGE_RNN_FAIL_POINT is {wanted!r}, expected NAME:COUNT with one of {', '.join(NAMES)}")
    left = int(count or "1")

    def passing(passed: str) -> None:
        nonlocal left
        if passed == name:
            left -= 1
            if left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return passing
