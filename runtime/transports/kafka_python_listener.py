"""Rebalances told on the caller's thread, though kafka-python tells them on its own.

kafka-python runs its network, heartbeats and listeners on one thread of its own, where nothing may
block. The caller's `poll` therefore runs on a helper thread, and the caller waits for whichever
comes first: its result, or a listener's call, which it runs while the network goes on.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from kafka.consumer.subscription_state import AsyncConsumerRebalanceListener

LOOK_EVERY_S = 0.002


class Bridge:
    """Runs a call on a helper thread and, meanwhile, what the client's thread asks for on this one."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._helper = ThreadPoolExecutor(1, "edge-rnn-poll")
        self._running: Future[Any] | None = None
        self.closed = threading.Event()

    @property
    def busy(self) -> bool:
        """Whether a call that was not waited for to its end still runs, or has a result to fetch."""
        return self._running is not None

    def run(self, call: Callable[[], Any], wait_s: float | None = None) -> Any:
        """The result of ``call``, run elsewhere; requests made before and during it are run here.

        After ``wait_s`` (``None``: no limit) it is left running and ``None`` returned; the next `run` waits for
        it, and not for its own ``call``.
        """
        deadline = None if wait_s is None else time.monotonic() + wait_s
        if self._running is None:
            self._running = self._helper.submit(call)
            self._running.add_done_callback(lambda _: self._calls.put(None))
        while True:
            try:
                left_s = None if deadline is None else max(0.0, deadline - time.monotonic())
                request = self._calls.get(timeout=left_s)
            except queue.Empty:
                return None
            if request is None:
                running, self._running = self._running, None
                return running.result()
            request()

    def ask(self, request: Callable[[], None]) -> threading.Event:
        """From the client's thread: have ``request`` run on the caller's; the event is set when it has been."""
        done = threading.Event()

        def run() -> None:
            try:
                request()
            finally:
                done.set()

        self._calls.put(run)
        return done

    def close(self) -> None:
        """No request is run any more; none is waited for."""
        self.closed.set()
        self._helper.shutdown(wait=False)


def rebalance_listener(
    bridge: Bridge,
    net: Any,
    gained: Callable[[list[int]], None],
    gives_up: Callable[[list[int], bool], None],
) -> Any:
    """A listener for ``KafkaConsumer.subscribe``; ``net`` is the consumer's event loop."""

    async def ask(request: Callable[[], None]) -> None:
        done = bridge.ask(request)
        while not done.is_set() and not bridge.closed.is_set():
            await net.sleep(LOOK_EVERY_S)

    class Listener(AsyncConsumerRebalanceListener):  # type: ignore[misc]
        async def on_partitions_assigned(self, assigned: Any) -> None:
            gained([place.partition for place in assigned])

        async def on_partitions_revoked(self, revoked: Any) -> None:
            await ask(lambda: gives_up([place.partition for place in revoked], False))

        async def on_partitions_lost(self, lost: Any) -> None:
            await ask(lambda: gives_up([place.partition for place in lost], True))

    return Listener()
