"""What a member of a Kafka group is, whichever client speaks for it: ownership, epochs, the order of a commit."""

from __future__ import annotations

import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping

from edge_rnn.contract.errors import BrokerUnreachable, CommitAborted, Fenced, TransportError, UsageError
from runtime.core.batch import Outgoing
from runtime.transports.kafka_group import GroupView
from runtime.transports.kafka_orphans import OrphanWatch
from runtime.transports.kafka_topics import Counts
from runtime.transports.names import check_names, partitions_added
from runtime.transports.protocol import METADATA_BYTES, Destination, Listener, MemberSettings, Position, TopicIds

log = logging.getLogger("edge_rnn.transport")

COMMIT_DEADLINE_S = 15.0
"""A call of the transaction's protocol is asked again for so long; then the broker is waited for, and what became of
the transaction is read from it."""

RIVAL_S = 3.0
"""How long a member whose producer is refused waits for another to show itself in the group."""

RIVAL_LOOK_S = 0.2

SESSION_MS = 45_000
"""``session.timeout.ms`` of both clients by default."""

HEARTBEAT_MS = 1000
"""With a heartbeat the coordinator tells a member that the group changes; the others wait for it in the meantime. The
clients' 3 s are what a partition that moves would stand still, and with kafka-python those that stay, too."""

ASK_AGAIN_MS = 20
MOST_ASK_AGAIN_MS = 200
"""Pauses of a consumer whose question is not answered yet. While a commit is pending nobody is told a group's positions,
and the clients' 100 ms, doubled each time, would be far longer than most commits: a shadow asks all the time."""

METADATA_MS = 30_000
"""How often the client looks whether partitions were added to the input."""

OWNED_PROPERTIES = {
    "bootstrap.servers",
    "enable.auto.commit",
    "enable.idempotence",
    "group.id",
    "group.instance.id",
    "isolation.level",
    "partition.assignment.strategy",
    "transactional.id",
    "auto.offset.reset",
}
"""Properties on which exactly-once rests; they are not the user's to set."""


class KafkaMember(ABC):
    """Ownership and epochs of a member; a client fills in the abstract methods. See `Transport`."""

    def __init__(self, settings: MemberSettings) -> None:
        check_names(settings)
        for name in settings.properties:
            if name in OWNED_PROPERTIES:
                raise UsageError(f"property {name!r} is set by edge-rnn; remove it")
        self.settings = settings
        self.topics: dict[Destination, str] = {"output": settings.output, "state": settings.state_topic}
        if settings.dead_letter is not None:
            self.topics["dead-letter"] = settings.dead_letter
        self.counts = Counts(0, 0)
        self.owned: set[int] = set()
        self.next: dict[int, int] = {}
        self._listener: Listener | None = None
        self._prepared = False
        self._announce: list[int] = []
        self._raised: BaseException | None = None
        self._begun = False
        self._begun_at = 0.0
        self._renew = False
        self._spoilt: set[int] = set()
        self._fenced: Fenced | None = None
        self._expelled: str | None = None
        self._closing = threading.Event()
        self._group = GroupView(settings)
        self._ids: set[str] = set()

    def prepare(self) -> None:
        try:
            self.make_clients()
        except BaseException:
            self.close()
            raise
        self._prepared = True

    def open(self, listener: Listener) -> None:
        self._listener = listener
        deadline = time.monotonic() + self.settings.startup_timeout_s
        if not self._prepared:
            self.prepare()
        try:
            self.join(max(1.0, deadline - time.monotonic()))
        except BaseException:
            self.close()
            raise
        asked, prepare = self._group.assignments, self._group.prepare
        OrphanWatch(self.settings, self.counts.input, asked, self._closing, lambda: len(self.owned), prepare)

    @property
    def input_partitions(self) -> int:
        return self.counts.input

    @property
    def output_partitions(self) -> int:
        return self.counts.output

    @property
    def topic_ids(self) -> TopicIds:
        return self.counts.ids

    @property
    def transactional_id(self) -> str:
        """Static, and of this group: instances of one name in two groups don't fence each other."""
        return f"{self.settings.group}-{self.settings.instance}"

    # -- ownership ----------------------------------------------------------------------------------------------------

    def gained(self, partitions: Iterable[int]) -> None:
        """The client was given partitions. The listener is told at the end of the poll (`tell`)."""
        partitions = sorted(partitions)
        self.owned |= set(partitions)
        self._announce += partitions

    def gives_up(self, partitions: Iterable[int], *, lost: bool) -> None:
        """Partitions go (``lost``: have gone). Tells the listener now; its errors are raised by `tell`."""
        partitions = sorted(set(partitions) & self.owned)
        if self._closing.is_set() or not partitions:
            return
        told = [partition for partition in partitions if partition not in self._announce]
        self._announce = [partition for partition in self._announce if partition not in partitions]
        if lost:
            self._drop(partitions)
        try:
            if told and self._listener is not None:
                (self._listener.lost if lost else self._listener.revoked)(told)
        except BaseException as error:
            self._raised = error
        if not lost:
            self._drop(partitions)

    def _drop(self, partitions: Iterable[int]) -> None:
        for partition in partitions:
            self.owned.discard(partition)
            if self.next.pop(partition, None) is not None and self._begun:
                self._spoilt.add(partition)

    def astray(self, partition: int) -> None:
        """The next offset of a served partition is not held: let the daemon begin it anew."""
        log.warning("offset %s of %s/%s is not held", self.next.get(partition), self.settings.input, partition)
        self.pause(partition)
        self.gives_up([partition], lost=True)
        self.gained([partition])

    def tell(self) -> bool:
        """Tell the listener of new partitions; raise what it raised before. Whether there was anything to tell."""
        raised, self._raised = self._raised, None
        if raised is not None:
            raise raised
        announce, self._announce = self._announce, []
        if announce and announce[-1] >= self.counts.input:
            raise partitions_added(self.settings.input, announce[-1] + 1, self.counts.input, running=True)
        if announce and self._listener is not None:
            self._listener.assigned(announce)
        return bool(announce)

    def advance(self, given: Mapping[int, int], ends: Mapping[int, int]) -> dict[int, int]:
        """The positions of served partitions that have changed: after the records ``given``, and past markers.

        ``ends`` are offsets up to which there is no record that was not given.
        """
        positions = dict(given)
        for partition, end in ends.items():
            if end > positions.get(partition, self.next.get(partition, end)):
                positions[partition] = end
        self.next.update(positions)
        return positions

    def serve(self, partition: int, offset: int) -> None:
        if partition not in self.owned:
            raise CommitAborted(f"partition {partition} of {self.settings.input!r} is not ours to serve")
        self.seek(partition, offset)
        self.next[partition] = offset

    # -- epochs -------------------------------------------------------------------------------------------------------

    def send(self, records: Outgoing, to: Destination) -> None:
        topic = self.topics.get(to)
        if topic is None:
            raise UsageError(f"group {self.settings.group!r} has no {to} topic; name one with --{to}")
        if not len(records):
            return
        self._begin()
        self._check_spoilt()
        self.produce(topic, records)

    def commit(self, positions: Mapping[int, Position]) -> None:
        """As `Transport.commit`.

        1. All partitions are still ours as they were when the epoch began.
        2. The positions join the transaction, with the group's metadata taken now (KIP-447).
        3. The transaction commits. Without an answer it is asked again, for `COMMIT_DEADLINE_S`.
        """
        for partition, position in positions.items():
            if (size := len(position.metadata.encode())) > METADATA_BYTES:
                raise UsageError(f"metadata of partition {partition} has {size} bytes, expected {METADATA_BYTES}")
        if not positions and not self._begun:
            self._check_fenced()
            return
        self._begin()
        self._check_spoilt()
        strange = sorted(set(positions) - set(self.next))
        if strange:
            raise CommitAborted(f"partitions {strange} of {self.settings.input!r} are not served by this member")
        if positions:
            self.send_offsets(positions)
        self.commit_transaction()
        self._begun = False

    def abort(self) -> None:
        self._check_fenced()
        if self._begun and not self._renew:
            try:
                self.abort_transaction()
            except CommitAborted as error:
                log.warning("cannot abort (%s): a new producer will", error)
                self._renew = True
        if self._renew:
            self._wait_for_renewal()
        self._begun = False
        self._spoilt.clear()

    def _wait_for_renewal(self) -> None:
        deadline = time.monotonic() + COMMIT_DEADLINE_S
        while True:
            try:
                if not self.outlasts_other():
                    raise self.fence("the group knows another member by this name")
                self.renew_producer()
                break
            except (BrokerUnreachable, CommitAborted) as error:
                if time.monotonic() > deadline:
                    raise BrokerUnreachable(str(error)) from error
                log.warning("%s: waiting", error)
        self._renew = False

    def _begin(self) -> None:
        self._check_fenced()
        if not self._begun:
            self._note_id()
            self._spoilt.clear()
            self.begin_transaction()
            self._begun, self._begun_at = True, time.monotonic()

    def _check_spoilt(self) -> None:
        if self._spoilt:
            raise CommitAborted(
                f"partitions {sorted(self._spoilt)} of {self.settings.input!r} went to another member in this epoch"
            )

    def _check_fenced(self) -> None:
        if self._fenced is not None:
            raise self._fenced

    def _note_id(self) -> str | None:
        """The id that the group gave this process; it is remembered, as the client forgets it when its session is over."""
        mine = self.member_id()
        if mine is not None:
            self._ids.add(mine)
        return mine

    def is_member(self) -> bool:
        """Ask the group whether this instance is this very process. Raises `BrokerUnreachable`."""
        self._note_id()
        return self._group.member_id() in self._ids

    def outlasts_other(self) -> bool:
        """Whether the other member that the group knows by this name is kept alive by nobody: it goes in a session.

        A join whose answer was lost in an outage leaves such a one. While our own join is under way, the group may
        know us before we do, or still as we were. Raises `BrokerUnreachable`.
        """
        session_s = float(str(self.settings.properties.get("session.timeout.ms", SESSION_MS))) / 1000
        began = time.monotonic()
        while (known := self._group.member_id()) is not None:
            mine = self._note_id()
            if known in self._ids:
                break
            if time.monotonic() - began > RIVAL_S + (session_s if mine else 0.0):
                return False
            time.sleep(RIVAL_LOOK_S)
        return True

    def refused(self, reason: object) -> TransportError:
        """The error for a producer that the broker refuses.

        The broker refuses alike one whose place was taken, one whose transaction took too long (the broker or this
        process was away), and one that lost an answer to an outage. Which it is, the group tells: whoever takes this
        place joins under this name, right after taking the transactions, and stays. As long as the group knows this
        very process, its positions alone are accepted, so it goes on with a new producer.
        """
        late = self._begun and time.monotonic() - self._begun_at >= self.settings.transaction_timeout_s
        deadline = time.monotonic() + (0.0 if late else RIVAL_S)
        try:
            while self.is_member():
                if time.monotonic() >= deadline:
                    self._renew = True
                    return CommitAborted(f"the broker refuses the producer, though nobody took its place ({reason})")
                time.sleep(RIVAL_LOOK_S)
            if self.outlasts_other():
                self._renew = True
                return CommitAborted(f"the broker refuses the producer, and nobody keeps its place ({reason})")
        except BrokerUnreachable as error:
            self._renew = True  # `abort` waits for the broker, and asks then
            return CommitAborted(f"the broker refuses the producer ({reason}), then: {error}")
        return self.fence(reason)

    def expelled(self, reason: object) -> None:
        """The group refuses the consumer for good: it is replaced, unless another process took this one's place.

        Raises `Fenced`, `BrokerUnreachable`.
        """
        self._expelled = str(reason)  # asked again by the next poll, if the broker does not answer now
        if not self.outlasts_other():
            raise self.fence(reason)
        log.warning("the group refuses the consumer, though nobody took its place (%s): joining anew", reason)
        self.gives_up(self.owned, lost=True)
        self.renew_consumer()
        self._expelled = None

    def fence(self, reason: object) -> Fenced:
        """Remember for good that another member took this one's place; the error to raise."""
        if self._fenced is None:
            self._fenced = Fenced(
                f"another process runs instance {self.settings.instance!r} of group {self.settings.group!r}, "
                f"or took its transaction ({reason}); stop one, or give it another --instance"
            )
        return self._fenced

    # -- a client's part ----------------------------------------------------------------------------------------------

    @abstractmethod
    def make_clients(self) -> None:
        """Reach the broker, prepare the topics, and make a producer and a consumer that are of no group yet."""

    @abstractmethod
    def join(self, timeout_s: float) -> None:
        """Fence an older self, and ask to join the group."""

    @abstractmethod
    def close(self, *, leave: bool = False) -> None:
        """Stop, what may have been opened only in part."""

    @abstractmethod
    def member_id(self) -> str | None:
        """The id that the group gave this process; ``None``: it has not asked to join yet."""

    @abstractmethod
    def renew_producer(self) -> None:
        """Replace a producer that the broker refuses; its transaction is dropped."""

    @abstractmethod
    def renew_consumer(self) -> None:
        """Replace a consumer that the group refuses; it joins the group anew."""

    @abstractmethod
    def pause(self, partition: int) -> None:
        """Give no records of a partition."""

    @abstractmethod
    def seek(self, partition: int, offset: int) -> None:
        """Give records of a partition, from ``offset`` on."""

    @abstractmethod
    def produce(self, topic: str, records: Outgoing) -> None:
        """Queue records in the transaction, waiting while the buffers are full."""

    @abstractmethod
    def begin_transaction(self) -> None:
        """Begin a transaction."""

    @abstractmethod
    def send_offsets(self, positions: Mapping[int, Position]) -> None:
        """Add positions to the transaction, under the group's metadata of now."""

    @abstractmethod
    def commit_transaction(self) -> None:
        """Send what is queued and commit."""

    @abstractmethod
    def abort_transaction(self) -> None:
        """Drop what is queued and abort."""


def unreachable_text(broker: str, timeout_s: float, reason: object = "") -> str:
    """The one line for a broker that does not answer."""
    found = f" ({reason})" if str(reason) else ""
    return f"no answer from {broker} within {timeout_s:g} s{found}; check the address, and that the broker runs"
