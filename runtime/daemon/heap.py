"""One heap for all threads.

glibc gives threads heaps of their own, and what a thread frees stays in its heap: messages that the client's threads
allocate and ours frees leave tens of megabytes there. One heap was not seen to be slower (docs/performance.md).
"""

from __future__ import annotations

import contextlib
import ctypes

M_ARENA_MAX = -8
"""From glibc's malloc.h."""


def share_heap() -> None:
    """Call it before other threads start. Elsewhere than on glibc nothing happens."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)
