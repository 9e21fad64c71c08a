"""A shadow becomes a member of its group: asked for on an HTTP thread, done by the loop's.

::

    prepared    the member's clients are made, while the daemon before it serves on; may be left out
    asked       refused, and nothing has changed, unless the shadow is ready and the member's name is free
    the shadow  ends without writing anything; its states stay
    the member  joins as the daemon that has stopped, replays up to what that one committed, and is live
    answered    with the seconds that took; a failure ends the process, so that the old daemon may start again
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from edge_rnn.contract.errors import EdgeRnnError, Fenced, TransportError
from runtime.daemon.assembly import member_settings
from runtime.daemon.instance import InstanceName
from runtime.daemon.settings import RunSettings, default_state_dir
from runtime.transports.connect import group_holder, open_transport
from runtime.transports.protocol import Transport

log = logging.getLogger("edge_rnn.daemon")

WITHIN_S = 45.0
"""A member that is not live within this time has failed; whoever asked waits for a minute."""

LOOK_S = 0.002

PREPARED_S = 120.0
"""What was prepared longer ago is made anew: brokers close connections, and topics may be others by then."""

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
    return stack.enter_context(InstanceName(_folder(settings), group, new=False)).name


def _folder(settings: RunSettings) -> Path:
    return Path(settings.state_dir) if settings.state_dir else default_state_dir()


class Successor:
    """The transport of the member that a shadow becomes; its clients are made beforehand, where that is asked for."""

    def __init__(self, settings: RunSettings, group: str) -> None:
        """``settings`` are the member's."""
        self._settings, self._group = settings, group
        self._lock = threading.Lock()
        self._prepared: tuple[str, float, Transport] | None = None

    def prepare(self) -> Answer:
        """200 once the clients are made, 409 where they cannot be yet: `transport` makes them then."""
        began = time.monotonic()
        names = [self._settings.instance] if self._settings.instance else self._kept_names()
        if len(names) != 1:
            return 409, {"error": f"the name of the daemon to take over from is not known: {names}"}
        with self._lock:
            self._drop()
            try:
                transport = open_transport(member_settings(self._settings, self._group, names[0]))
                transport.prepare()
            except EdgeRnnError as error:
                return 409, {"error": str(error)}
            self._prepared = names[0], began, transport
        seconds = round(time.monotonic() - began, 3)
        log.info("prepared to take over", extra={"instance": names[0], "seconds": seconds})
        return 200, {"instance": names[0], "seconds": seconds}

    def _kept_names(self) -> list[str]:
        with contextlib.suppress(OSError):
            return InstanceName.known(_folder(self._settings), self._group)
        return []

    def transport(self, instance: str) -> Transport:
        """Of the member of this name: the one that was prepared, or another."""
        with self._lock:
            if self._prepared is not None and self._prepared[0] == instance:
                _, began, transport = self._prepared
                if time.monotonic() - began <= PREPARED_S:
                    self._prepared = None
                    return transport
            self._drop()
        return open_transport(member_settings(self._settings, self._group, instance))

    def close(self) -> None:
        """Free what was prepared and not taken."""
        with self._lock:
            self._drop()

    def _drop(self) -> None:
        prepared, self._prepared = self._prepared, None
        if prepared is not None:
            prepared[2].close()


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
