"""Ending librdkafka's clients, which may hang for good, without waiting for it for good."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

log = logging.getLogger("edge_rnn.transport")

CLOSE_S = 5.0


def close_within(clients: list[Any], limit_s: float = CLOSE_S, settle: Callable[[Any], None] | None = None) -> bool:
    """Destroy clients; whether all had ended within ``limit_s``. Nothing that is queued in them is sent.

    ``Consumer.close`` is never called. It serves a last rebalance, in which confluent-kafka asks librdkafka's main
    thread for the rebalance protocol with Python's lock held. If that thread has ended by then, the whole process
    stands still: no thread, no signal handler, no time limit runs any more (seen with 2.16.1, once in a hundred
    closes soon after a join). What it adds is to leave the group, which a static member does not do.

    Instead a client is destroyed by dropping the last reference to it, which serves no callbacks. That joins the
    client's own threads, without a time limit (librdkafka issues 3470, 4519 and 4674 tell of some that never end), so
    it is done on a thread for each. ``clients`` must hold the last references, and is emptied: a client that does not
    end is kept by its thread until the process ends, and neither a caller nor the garbage collector waits for it.

    ``settle`` is called first, on that thread. A consumer that was given partitions, and whose callback for that was
    not served yet, is never destroyed, and keeps a processor busy: its ``settle`` must serve it.
    """
    deadline = time.monotonic() + limit_s
    threads = [
        threading.Thread(target=_end, args=(clients, settle), name="edge-rnn-close", daemon=True) for _ in clients
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    ended = not any(thread.is_alive() for thread in threads)
    if not ended and limit_s:
        log.warning("a client of librdkafka does not end within %g s; left to the end of the process", limit_s)
    return ended


def _end(clients: list[Any], settle: Callable[[Any], None] | None) -> None:
    client = clients.pop()
    if settle is not None:
        settle(client)
