"""Partitions that a group has left to nobody: looked for now and then, and given out anew.

A member revokes a partition and dies before it joins again: as a static member it gets its old assignment back, without
the partition and without a rebalance, so that nobody has it until the group's next one. What brings a rebalance about
is a member that leaves and joins again; that is done by the one which has the least to give up, best by one with nothing.

While a member has all partitions itself nobody is asked: to load what asks takes an eighth of a second of a processor and
11 MB, on every device that is alone in its group.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from edge_rnn.contract.errors import TransportError
from runtime.transports.kafka_group import Assignments
from runtime.transports.kafka_leave import leave_group
from runtime.transports.protocol import MemberSettings

log = logging.getLogger("edge_rnn.transport")

LOOK_EVERY_S = 5.0
MANY = 50
"""In a group of more members each looks less often, so that the coordinator is asked no more than by so many."""


class OrphanWatch:
    """Looks on a thread of its own until ``closing`` is set; a group in the middle of a rebalance is ``None``."""

    def __init__(
        self,
        settings: MemberSettings,
        partitions: int,
        ask: Callable[[], Assignments | None],
        closing: threading.Event,
        held: Callable[[], int],
        prepare: Callable[[], object] = lambda: None,
    ) -> None:
        """``held`` says how many partitions this member has. ``prepare`` is called before the first ``ask``, on the same thread."""
        self._settings = settings
        self._partitions = partitions
        self._ask = ask
        self._closing = closing
        self._held = held
        self._prepare = prepare
        threading.Thread(target=self._watch, name="edge-rnn-orphans", daemon=True).start()

    def _watch(self) -> None:
        before: set[int] = set()
        members = 1
        prepared = False
        while not self._closing.wait(look_every_s(members)):
            if self._held() >= self._partitions:
                before, members = set(), 1
                continue
            try:
                if not prepared:
                    prepared = True
                    self._prepare()
                held = self._ask()
            except Exception as error:
                if not self._closing.is_set() and not isinstance(error, TransportError):
                    log.warning("cannot look for partitions without a member: %r", error)
                continue
            members = len(held) if held else members
            found = orphans(held or {}, self._partitions)
            if found and found == before and held and self._settings.instance == least(held):
                log.warning(
                    "partitions %s of %s belong to no member of the group: joining it anew",
                    sorted(found),
                    self._settings.input,
                )
                leave_group(self._settings)
                found = set()
            before = found


def look_every_s(members: int) -> float:
    """How long a member of a group of so many waits between two looks."""
    return LOOK_EVERY_S * max(1.0, members / MANY)


def orphans(held: Assignments, partitions: int) -> set[int]:
    """The partitions that no member has, in a group that has members."""
    return set(range(partitions)) - set().union(*held.values()) if held else set()


def least(held: Assignments) -> str:
    """The instance with the fewest partitions; by name where several have."""
    return min(held, key=lambda instance: (len(held[instance]), instance))
