"""The groups of a Kafka cluster, whichever client asks: the order of a change from outside."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod

from edge_rnn.contract.errors import TransportError
from runtime.transports.groups import Rewrite, refuse_members, refuse_moved
from runtime.transports.protocol import Position

TRANSACTION_TIMEOUT_S = 60.0


class KafkaGroups(ABC):
    """See `Groups`; a client fills in the abstract methods."""

    def rewrite(self, change: Rewrite) -> None:
        """As `Groups.rewrite`.

        1. A transaction begins; the records are sent.
        2. The positions join it. From here on a member that joins waits for its end before it reads them.
        3. Nobody is in the group, and it has not moved on.
        4. The transaction commits.
        """
        refuse_members(change.group, self.members(change.group))
        try:
            self.begin(f"{change.group}-edge-rnn-state", change)
            refuse_members(change.group, self.members(change.group))
            refuse_moved(change, self.positions(change.group).get(change.input, {}))
        except BaseException:
            with contextlib.suppress(TransportError):
                self.abort()
            raise
        self.commit()

    @abstractmethod
    def positions(self, group: str) -> dict[str, dict[int, Position]]:
        """As `Groups.positions`."""

    @abstractmethod
    def members(self, group: str) -> list[str]:
        """As `Groups.members`."""

    @abstractmethod
    def begin(self, transactional_id: str, change: Rewrite) -> None:
        """Begin a transaction; when this returns, its records are sent and its positions pending."""

    @abstractmethod
    def commit(self) -> None:
        """Commit it."""

    @abstractmethod
    def abort(self) -> None:
        """Drop it, if one has begun."""

    @abstractmethod
    def close(self) -> None:
        """Free the connections."""
