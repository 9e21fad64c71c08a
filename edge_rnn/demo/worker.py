"""A thread with a broker connection of its own, whose failure is raised where it is waited for."""

from __future__ import annotations

import threading
from collections.abc import Callable

from runtime.transports.protocol import Broker


class Worker:
    """Base of the feeder and the watcher. A broker object serves one thread, so each opens its own."""

    def __init__(self, name: str, connect: Callable[[], Broker]) -> None:
        self._connect = connect
        self._failure: BaseException | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._guarded, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def check(self) -> None:
        """Raise what the thread failed with, if it did."""
        if self._failure is not None:
            raise self._failure

    @property
    def is_done(self) -> bool:
        """Whether the thread has ended. Raises what it failed with."""
        self.check()
        return not self._thread.is_alive()

    def stop(self) -> None:
        """End early, and wait for it. Nothing is raised: `check` does that."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _guarded(self) -> None:
        try:
            broker = self._connect()
            try:
                self._work(broker)
            finally:
                broker.close()
        except BaseException as error:
            self._failure = error

    def _work(self, broker: Broker) -> None:
        """What the thread does, until it is done or ``_stop`` is set."""
        raise NotImplementedError
