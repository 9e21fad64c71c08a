"""The columnar transport protocol: poll a batch, send, commit an epoch; and what a group member is told.

An *epoch* is all that happens between two commits: every record sent, every snapshot, and the
input positions become visible together or not at all.

The order of calls of a member::

    open(listener)
      poll() ─ may call listener.assigned / revoked / lost, on the caller's thread
        for a newly assigned partition, which gives nothing until it is served:
          committed(p), bounds(p), restore(p), then serve(p, offset)
      send(...) any number of times, commit(positions)     or abort()
    close()

All methods are called from one thread.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

from runtime.core.batch import Outgoing, RecordBatch

Destination = Literal["output", "dead-letter", "state"]
"""Which of the member's topics a record goes to."""

Client = Literal["kafka-python", "confluent"]
Delivery = Literal["exactly-once", "at-least-once"]

METADATA_BYTES = 4095
"""Most bytes that the metadata of a committed position may have: below Kafka's default, as librdkafka adds a zero."""


@dataclass(frozen=True, slots=True)
class Position:
    """A committed place in one input partition: the offset to read next, and our metadata beside it."""

    offset: int
    metadata: str = ""


class TopicIds(NamedTuple):
    """What tells the input and the state topic from later topics of the same names; empty: unknown."""

    input: str = ""
    state: str = ""


UNKNOWN_IDS = TopicIds()


@dataclass(frozen=True, slots=True)
class MemberSettings:
    """What a group member needs to know. ``broker`` is ``HOST:PORT[,HOST:PORT]`` or ``sqlite:PATH``.

    ``delivery`` at least once: what is sent and the positions are not one transaction, the positions
    come last. ``state_topic`` is ``<group>-state`` by default. ``properties`` are client properties under
    their dotted Kafka names, passed on to the consumer or producer that knows them. ``replays``: what
    was read may be needed again, so a compacted input is refused. ``follows_growth``: partitions that
    were added to the input since the last run are taken on, instead of being refused.
    """

    broker: str
    group: str
    input: str
    output: str
    instance: str
    dead_letter: str | None = None
    create_topics: bool = False
    client: Client = "kafka-python"
    startup_timeout_s: float = 20.0
    transaction_timeout_s: float = 10.0
    properties: Mapping[str, object] = field(default_factory=dict)
    replays: bool = True
    follows_growth: bool = False
    delivery: Delivery = "exactly-once"

    @property
    def state_topic(self) -> str:
        """Name of the topic that holds the group's snapshots."""
        return f"{self.group}-state"


class Listener(Protocol):
    """Told of changes of assignment, always inside ``poll`` and on the caller's thread; never inside ``close``.

    ``lost`` followed at once by ``assigned`` of the same partition: the offset it was to give next is
    not held (retention, a topic made anew); it stays ours and is to be recovered as at start.
    """

    def assigned(self, partitions: Sequence[int]) -> None:
        """These are newly ours. They give no record until they are served."""

    def revoked(self, partitions: Sequence[int]) -> None:
        """These go to another member when this returns; they are still ours, so commit now."""

    def lost(self, partitions: Sequence[int]) -> None:
        """These already belong to another member: drop all of theirs; nothing of it can be committed."""


class Transport(Protocol):
    """One member of one group: reads one input topic, writes outputs, dead letters and snapshots."""

    def prepare(self) -> None:
        """Do what of `open` the group does not notice: reach the broker, check or create the topics, make the clients.

        `open` goes on from there, so that it takes less time. Raises as it does, but for `Fenced`.
        """

    def open(self, listener: Listener) -> None:
        """Connect, check or create the topics, fence an older self, and join the group.

        Raises `BrokerUnreachable` within ``startup_timeout_s``, `TopicError`, or `Fenced` when
        another live daemon holds the same instance (embedded transport: the same group).
        """

    @property
    def input_partitions(self) -> int:
        """Number of partitions of the input topic."""

    @property
    def output_partitions(self) -> int:
        """Number of partitions of the output topic."""

    @property
    def topic_ids(self) -> TopicIds:
        """Which topics the input and the state topic are; what `open` found."""

    def poll(self, max_records: int, timeout_s: float) -> RecordBatch:
        """Up to ``max_records`` committed records of the served partitions, in offset order each.

        Returns as soon as there is any; waits up to ``timeout_s`` for the first. A broker that is
        away is waited for: the batch is then empty. A batch without records may have positions: a
        transaction's markers, or records that were aborted, were passed.
        """

    def committed(self, partition: int) -> Position | None:
        """The group's last committed position, once no commit is pending on it; ``None``: never committed."""

    def bounds(self, partition: int) -> tuple[int, int]:
        """First offset still held and the offset after the last committed record, of an input partition."""

    def offset_at(self, partition: int, timestamp_ms: int) -> int:
        """Offset of the first record of an input partition that has this time or a later one; else its end."""

    def restore(self, partition: int) -> Iterator[tuple[list[bytes], list[bytes]]]:
        """Committed snapshots of a partition in the order written, in bulk: ``(keys, values)``.

        Reads up to the end that the topic had at the call, waiting for transactions still open
        there. A key can come more than once: the last wins. An empty value deletes. A bulk may be
        empty: nothing has come for a tenth of a second, so ``poll`` before asking for the next.
        """

    def serve(self, partition: int, offset: int) -> None:
        """Let an assigned partition give records, from ``offset`` on."""

    def send(self, records: Outgoing, to: Destination) -> None:
        """Send within the current epoch, beginning it if none is open. Waits while the buffers are full.

        Snapshots go to the state topic's partition given in ``records.partitions``. Raises
        `CommitAborted` when the epoch can no longer commit, `Fenced`.
        """

    def commit(self, positions: Mapping[int, Position]) -> None:
        """Make the epoch visible: all that was sent, together with these input positions.

        Raises `CommitAborted` when nothing of it became visible (call ``abort`` next), `Fenced`.
        """

    def abort(self) -> None:
        """Drop the epoch: nothing that was sent in it is ever seen by a committed reader. Raises `Fenced`."""

    def lag(self) -> dict[int, int]:
        """Records not yet polled, for each served partition, as far as the client knows.

        On Kafka the markers of transactions count as records.
        """

    def close(self, *, leave: bool = False) -> None:
        """Stop. An open epoch is aborted. ``leave``: leave the group at once, instead of being expected back."""


class Broker(Protocol):
    """Plain access to topics outside any group: for producing rows, for reading results, for tests."""

    def create_topic(self, name: str, partitions: int) -> None:
        """Create a topic; one that exists with as many partitions is left alone. Raises `TopicError`."""

    def partitions(self, topic: str) -> int | None:
        """Number of partitions, or ``None``: no such topic."""

    def write(self, topic: str, records: Outgoing) -> None:
        """Append records and return once they are durable."""

    def read(self, topic: str, *, start: Mapping[int, int] | None = None, timeout_s: float = 10.0) -> RecordBatch:
        """All committed records from ``start`` (default: the first held) to the end at the call.

        Waits up to ``timeout_s`` for open transactions before that end, then gives what is committed.
        """

    def close(self) -> None:
        """Free the connections."""
