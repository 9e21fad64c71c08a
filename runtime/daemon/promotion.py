"""A shadow becomes a member of its group: asked for on an HTTP thread, done by the loop's.

::

    asked       refused, and nothing has changed, unless the shadow is ready and the member's name is free
    the shadow  ends without writing anything; its states stay
    the member  joins as the daemon that has stopped, replays up to what that one committed, and is live
    answered    with the seconds that took; a failure ends the process, so that the old daemon may start again
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from edge_rnn.contract.errors import EdgeRnnError, Fenced, TransportError
from runtime.daemon.instance import InstanceName
from runtime.daemon.settings import RunSettings, default_state_dir
from runtime.transports.connect import group_holder

log = logging.getLogger("edge_rnn.daemon")

WITHIN_S = 45.0
"""A member that is not live within this time has failed; whoever asked waits for a minute."""

LOOK_S = 0.002

Answer = tuple[int, Mapping[str, object]]
"""An HTTP status, and what is said as JSON."""


def claim_instance(settings: RunSettings, group: str, stack: ExitStack) -> str:
    """The name of the stopped daemon, this process's own until ``stack`` is closed.

    Raises `Fenced` where the embedded store's group is still run, `UsageError` where no name is free. A daemon on Kafka
    that still runs under a name given by ``--instance`` is not seen: it is fenced when the member joins.
    """
    if (holder := group_holder(settings.broker, group)) is not None:
        raise Fenced(f"group {group!r} of {settings.broker} is run by another process (pid {holder}); stop it first")
    if settings.instance is not None:
        return settings.instance
    folder = Path(settings.state_dir) if settings.state_dir else default_state_dir()
    return stack.enter_context(InstanceName(folder, group, new=False)).name


class Promotion:
    """What passes between the thread that asks and the loop's; see `ask`, `joining`, `watched`."""

    def __init__(
        self, claim: Callable[[], str], unready: Callable[[], str | None], over: threading.Event, stop: threading.Event
    ) -> None:
        """``over`` ends the shadow; ``stop`` ends the member, when it has not become live in time."""
        self._claim = claim
        self._unready = unready
        self._over = over
        self._stop = stop
        self._began = 0.0
        self._joining = threading.Event()
        self._ended = threading.Event()
        self._failure: BaseException | None = None
        self._late: TransportError | None = None
        self.instance: str | None = None

    def ask(self) -> Answer:
        """Called by one thread at a time. 200 with ``instance`` and ``seconds`` once live, 409 refused, 500 failed."""
        problem = "it is promoted already" if self.instance is not None else self._unready()
        if problem is not None:
            return 409, {"error": f"the shadow cannot be promoted: {problem}"}
        self._began = time.monotonic()
        try:
            self.instance = self._claim()
        except EdgeRnnError as error:
            return 409, {"error": f"the shadow cannot be promoted: {error}"}
        log.info("promoting", extra={"instance": self.instance})
        self._over.set()
        while not self._ended.wait(LOOK_S):
            seconds = time.monotonic() - self._began
            if self._joining.is_set() and self._unready() is None:
                log.info("promoted", extra={"instance": self.instance, "seconds": round(seconds, 3)})
                return 200, {"instance": self.instance, "seconds": round(seconds, 3)}
            if seconds > WITHIN_S:
                self._late = TransportError(
                    f"the shadow has joined its group, but was not live within {WITHIN_S:g} s: {self._unready()}"
                )
                self._stop.set()
                break
        return 500, {"error": str(self._late or self._failure or "stopped before it was live")}

    def joining(self) -> None:
        """From here on ``unready`` speaks of the member."""
        self._joining.set()

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Whoever asks is told when this ends, and of what. Raises the error of a member that was not live in time."""
        try:
            yield
        except BaseException as error:
            self._failure = error
            raise
        finally:
            late = self._late
            self._ended.set()
        if late is not None:
            raise late
