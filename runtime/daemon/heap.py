"""One heap for all threads, and nothing kept in it of what only the start needed.

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


def trim_heap() -> None:
    """Give what is free back to the system: the trial of call sizes leaves some 10 MB. Nothing happens without glibc."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
