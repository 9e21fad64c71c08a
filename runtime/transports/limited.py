"""Calls that may never return, waited for up to a limit."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any

_Task = tuple["Future[None]", Any, tuple[Any, ...]]


class LimitedCalls:
    """Makes calls one after the other on a thread of its own, which is started once: a start costs a tenth of a ms.

    A call that outlasts its limit keeps that thread, which nobody waits for; the next call gets another. Neither holds
    on to what was called once it returned.
    """

    def __init__(self, name: str) -> None:
        """``name``: the thread's."""
        self._name = name
        self._tasks: SimpleQueue[_Task | None] | None = None

    def begin(self, call: Any, arguments: tuple[Any, ...]) -> Future[None]:
        """Start a call; `wait` for it before the next."""
        if self._tasks is None:
            self._tasks = SimpleQueue()
            threading.Thread(target=_work, args=(self._tasks,), name=self._name, daemon=True).start()
        done: Future[None] = Future()
        self._tasks.put((done, call, arguments))
        return done

    def wait(self, done: Future[None], limit_s: float) -> None:
        """Raises what the call raises, and `TimeoutError` when it has not returned within ``limit_s``."""
        try:
            done.result(limit_s)
        except TimeoutError:
            if not done.done():
                self.close()
            raise

    def close(self) -> None:
        """Let the thread end, once it is done with what it is at."""
        if self._tasks is not None:
            self._tasks.put(None)
            self._tasks = None


def _work(tasks: SimpleQueue[_Task | None]) -> None:
    while (task := tasks.get()) is not None:
        done, call, arguments = task
        del task
        try:
            found = call(*arguments)
        except BaseException as error:
            del call, arguments
            done.set_exception(error)
        else:
            del call, arguments
            done.set_result(found)
        del done
