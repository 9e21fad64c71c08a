"""Work on batches in their order: on the caller's thread, or under load on one of its own while the caller goes on.

A batch is taken through the model while the loop sends the results of the one before and polls the
one after. At most `DEPTH` batches are on their way, so memory does not grow. Nobody but the work
itself may touch the states while any is on its way: `wait` first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

T = TypeVar("T")

DEPTH = 2
"""Most batches on their way: one in the model, one behind it."""


class Pipeline(Generic[T]):
    """Results come out in the order in which the work went in."""

    def __init__(self) -> None:
        self._thread: ThreadPoolExecutor | None = None
        self._under_way: deque[Future[T]] = deque()

    def __len__(self) -> int:
        """How much is on its way."""
        return len(self._under_way)

    @property
    def full(self) -> bool:
        """Whether `wait` or `ready` must make room first."""
        return len(self._under_way) >= DEPTH

    def begin(self, work: Callable[[], T]) -> None:
        """Start work behind what is on its way."""
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "edge-rnn-model")
        self._under_way.append(self._thread.submit(work))

    def ready(self) -> list[T]:
        """What is done by now, and more if `full`. Raises what the work raised."""
        done = []
        while self._under_way and (self.full or self._under_way[0].done()):
            done.append(self._under_way.popleft().result())
        return done

    def wait(self) -> list[T]:
        """All that is on its way. Raises what the work raised; the rest is then still there."""
        done = []
        while self._under_way:
            done.append(self._under_way.popleft().result())
        return done

    def drop(self) -> None:
        """Wait for what is under way, and forget it."""
        for each in self._under_way:
            each.cancel()
        while self._under_way:
            future = self._under_way.popleft()
            if not future.cancelled():
                future.exception()

    def close(self) -> None:
        """End the thread."""
        self.drop()
        if self._thread is not None:
            self._thread.shutdown()
            self._thread = None
