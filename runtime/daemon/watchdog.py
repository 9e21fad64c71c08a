"""Ends a process whose loop no longer turns, so that a supervisor can start it again and another member go on."""

from __future__ import annotations

import faulthandler
import logging
import os
import sys
import threading
import time
from collections.abc import Callable

log = logging.getLogger("edge_rnn.daemon")


class Watchdog:
    """Watches a beat (`time.monotonic` of the loop's last turn) on a thread of its own, until `stop`.

    A loop that hangs in a client's call has left its group by then, but holds its process: nothing
    of it can be committed, and nobody else knows. What every thread does is written to standard error.
    """

    def __init__(
        self, beat: Callable[[], float], limit_s: float, end: Callable[[int], None] = os._exit, every_s: float = 1.0
    ) -> None:
        self._beat = beat
        self._limit_s = limit_s
        self._end = end
        self._every_s = every_s
        self._stopped = threading.Event()
        threading.Thread(target=self._watch, name="edge-rnn-watchdog", daemon=True).start()

    def stop(self) -> None:
        """No longer watch."""
        self._stopped.set()

    def _watch(self) -> None:
        while not self._stopped.wait(self._every_s):
            stood_s = time.monotonic() - self._beat()
            if stood_s > self._limit_s:
                log.critical(
                    "the loop has not turned within its limit; ending, start it again",
                    extra={"seconds": round(stood_s), "limit": round(self._limit_s)},
                )
                faulthandler.dump_traceback(sys.stderr)
                sys.stderr.flush()
                self._end(1)
                return
