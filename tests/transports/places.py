"""What the conformance suite runs against, and a group member that it can drive by hand."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from runtime.core.batch import Headers, Outgoing, RecordBatch
from runtime.transports.connect import open_transport
from runtime.transports.protocol import Broker, Client, MemberSettings, Position, Transport

PARTITIONS = 4
DEADLINE_S = 60.0


class Record(NamedTuple):
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]


@dataclass(frozen=True)
class Place:
    """One transport with its topics. Tests share them (a group's first join costs 3 s) and look from the end on."""

    name: str
    broker: Broker
    settings: MemberSettings

    def with_(self, **changes: object) -> MemberSettings:
        return dataclasses.replace(self.settings, **changes)

    def ends(self, topic: str) -> dict[int, int]:
        """Where the next records of a topic will be, or a little before (an aborted record takes an offset)."""
        batch = self.broker.read(topic)
        ends = dict.fromkeys(range(self.broker.partitions(topic) or 0), 0)
        for record in rows(batch):
            ends[record.partition] = record.offset + 1
        return ends

    def since(self, topic: str, start: Mapping[int, int], timeout_s: float = 10.0) -> list[Record]:
        return rows(self.broker.read(topic, start=start, timeout_s=timeout_s))


def make_place(name: str, url: str, client: Client, broker: Broker, tag: str) -> Place:
    topics = {role: f"{tag}-{role}" for role in ("input", "output", "dead")}
    for topic in topics.values():
        broker.create_topic(topic, PARTITIONS)
    return Place(
        name,
        broker,
        MemberSettings(
            broker=url,
            group=f"{tag}-group",
            input=topics["input"],
            output=topics["output"],
            dead_letter=topics["dead"],
            instance="a",
            client=client,
        ),
    )


def rows(batch: RecordBatch) -> list[Record]:
    """A batch by rows."""
    headers: Sequence[Headers] = batch.headers or [[]] * len(batch)
    columns = (batch.partitions.tolist(), batch.offsets.tolist(), batch.timestamps.tolist())
    return [
        Record(partition, offset, stamp, key, value, [(name, bytes(each)) for name, each in notes])
        for partition, offset, stamp, key, value, notes in zip(*columns, batch.keys, batch.values, headers, strict=True)
    ]


def records(
    values: Sequence[bytes | None],
    *,
    keys: Sequence[bytes | None] | None = None,
    partitions: Sequence[int] | None = None,
    timestamps: Sequence[int] | None = None,
    headers: list[Headers] | None = None,
) -> Outgoing:
    """Records to send: partition and key by position in turn unless given."""
    count = len(values)
    return Outgoing(
        np.array(partitions if partitions is not None else [i % PARTITIONS for i in range(count)], np.int32),
        np.array(timestamps if timestamps is not None else [1_700_000_000_000 + i for i in range(count)], np.int64),
        list(keys) if keys is not None else [b"key-%d" % (i % 7) for i in range(count)],
        list(values),
        headers,
    )


def numbered(count: int, prefix: str = "value") -> list[bytes]:
    return [f"{prefix}-{index:06d}".encode() for index in range(count)]


@dataclass
class Member:
    """A transport with a listener that keeps what it is told."""

    transport: Transport
    owned: set[int] = field(default_factory=set)
    events: list[tuple[str, tuple[int, ...]]] = field(default_factory=list)
    next: dict[int, int] = field(default_factory=dict)
    on_revoked: Callable[[Sequence[int]], None] = lambda partitions: None

    def assigned(self, partitions: Sequence[int]) -> None:
        self.events.append(("assigned", tuple(sorted(partitions))))
        self.owned |= set(partitions)

    def revoked(self, partitions: Sequence[int]) -> None:
        self.events.append(("revoked", tuple(sorted(partitions))))
        self.on_revoked(partitions)
        self._forget(partitions)

    def lost(self, partitions: Sequence[int]) -> None:
        self.events.append(("lost", tuple(sorted(partitions))))
        self._forget(partitions)

    def _forget(self, partitions: Sequence[int]) -> None:
        self.owned -= set(partitions)
        for partition in partitions:
            self.next.pop(partition, None)

    def open(self) -> Member:
        self.transport.open(self)
        return self

    def join(self, partitions: int = PARTITIONS) -> Member:
        """Poll until this many partitions are ours."""
        self.until(lambda: len(self.owned) == partitions, f"{partitions} partitions assigned")
        return self

    def serve(self, starts: Mapping[int, int] | None = None) -> Member:
        """Serve what is owned and not served: from ``starts``, else the committed position, else the end."""
        for partition in sorted(self.owned - set(self.next)):
            position = self.transport.committed(partition)
            start = position.offset if position else self.transport.bounds(partition)[1]
            start = (starts or {}).get(partition, start)
            self.transport.serve(partition, start)
            self.next[partition] = start
        return self

    def serve_end(self) -> Member:
        """Serve what is owned from the end of the input."""
        return self.serve({partition: self.transport.bounds(partition)[1] for partition in self.owned})

    def take(self, count: int) -> list[Record]:
        """Poll until there are ``count`` records, and no more of them."""
        taken: list[Record] = []
        self.until(lambda: len(taken) >= count, f"{count} records", taken, count)
        return taken

    def until(
        self, condition: Callable[[], bool], what: str, taken: list[Record] | None = None, most: int = 500
    ) -> None:
        """Poll until the condition holds. Raises `AssertionError` at the deadline."""
        deadline = time.monotonic() + DEADLINE_S
        while not condition():
            assert time.monotonic() < deadline, f"waited {DEADLINE_S} s for {what}; events: {self.events}"
            batch = self.transport.poll(most - len(taken or []), 0.1)
            self.next.update(batch.positions)
            assert taken is not None or not len(batch), f"records while waiting for {what}"
            if taken is not None:
                taken += rows(batch)

    def positions(self, metadata: str = "") -> dict[int, Position]:
        return {partition: Position(offset, metadata) for partition, offset in self.next.items()}


def new_member(settings: MemberSettings) -> Member:
    return Member(open_transport(settings))
