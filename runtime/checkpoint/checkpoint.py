"""What goes into a commit beside the outputs: the snapshots that are due, the offsets, and from where to replay.

::

    1. choose     a few dirty streams, the oldest first, and all that ended or were evicted
    2. send       their snapshots, tombstones and closings, within the open epoch
    3. outputs    what is left of them to send, while the model is at the next epoch
    4. commit     with each offset, the lowest one that a dirty stream still needs

States on a device are only begun to be read in 1, and sent before 4, while the model is at the next epoch.

At-least-once has no transaction around these. The offsets are then committed first, as if nothing
had been chosen, and the snapshots follow with the next epoch, so that none is ever beyond them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from runtime.checkpoint.metadata import CommitMetadata
from runtime.checkpoint.policy import Quota, SnapshotPace, SnapshotPolicy
from runtime.checkpoint.recovered import Recovered, Standing
from runtime.checkpoint.snapshot import HEADER, Snapshots, encode_closings, encode_snapshots
from runtime.core.batch import Outgoing
from runtime.core.column import Cells
from runtime.core.processor import Processor
from runtime.transports.protocol import Delivery, Position, Transport

DRAIN_BYTES = 64 << 20
"""Most bytes of state saved when stopping, so that the next start has little to replay and this one ends soon."""

PIECE_BYTES = 1 << 20
"""Snapshots are made and sent in pieces of this size, so that copies stay in the cache and memory does not swell."""

MOST_VOID = 4096
"""Most closings of a partition that one commit deletes; the others stand until the next."""


def nothing() -> None:
    """Nothing is left to do."""


@dataclass(frozen=True, slots=True)
class Committed:
    """What a commit wrote: snapshot records and their bytes."""

    snapshots: int
    snapshot_bytes: int


class Checkpoint:
    """Binds a processor's states to a transport's epochs."""

    def __init__(
        self,
        processor: Processor,
        transport: Transport,
        fingerprint: bytes,
        policy: SnapshotPolicy,
        state_bytes: int,
        passing: Callable[[str], None] = lambda _name: None,
        delivery: Delivery = "exactly-once",
        taken_over: dict[int, Standing] | None = None,
    ) -> None:
        """``passing`` is told the names of the commit's steps as they are passed (fail points).

        ``taken_over`` loses the partitions whose streams are dropped.
        """
        self._streams = processor.streams
        self._read = processor.read_states
        self._begin_read = processor.begin_read_states
        self._read_extras = processor.read_extras
        self._transport = transport
        self._fingerprint = fingerprint
        self._policy = policy
        self._record_bytes = HEADER.itemsize + state_bytes
        self._pace = SnapshotPace(policy, self._record_bytes)
        self._passing = passing
        self._snapshots_follow = delivery == "at-least-once"
        self._offsets: dict[int, int] = {}
        self._committed: dict[int, int] = {}
        self._replays: dict[int, int] = {}
        self._newest: dict[int, int] = {}
        self._retained: dict[int, dict[str, int]] = {}
        self._obsolete: dict[int, list[bytes]] = {}
        self._following: set[int] = set()
        self._begun: dict[int, Recovered] = {}
        self._taken_over: dict[int, Standing] = {} if taken_over is None else taken_over

    def begin(self, partition: int, start: Recovered) -> None:
        """A partition is live from ``start.offset`` on."""
        self._offsets[partition] = self._committed[partition] = start.offset
        self._replays[partition] = start.replay_from
        self._retained[partition] = dict(start.retained)
        self._begun[partition] = start
        if start.newest_ms is not None:
            self.seen(partition, start.newest_ms)
        if start.obsolete:
            self._obsolete[partition] = list(start.obsolete)

    def standing(self) -> dict[int, Standing]:
        """Where each live partition's states are, and from where they came there."""
        return {partition: Standing(offset, self._begun[partition]) for partition, offset in self._offsets.items()}

    def seen(self, partition: int, timestamp_ms: int) -> None:
        """A record with this time was applied."""
        self._newest[partition] = max(timestamp_ms, self._newest.get(partition, timestamp_ms))

    def evict(self, most: int) -> int:
        """Close live streams, those touched least recently, where there are more than ``most``; how many went."""
        return self._streams.evict(most, self._offsets.keys())

    def drop(self, partitions: list[int]) -> None:
        """Forget these partitions' streams: they are another member's, or will be recovered."""
        self._streams.drop(partitions)
        for partition in partitions:
            for kept in (
                self._offsets,
                self._committed,
                self._replays,
                self._newest,
                self._retained,
                self._obsolete,
                self._begun,
                self._taken_over,
            ):
                kept.pop(partition, None)
            self._following.discard(partition)

    def overdue(self, now_s: float) -> bool:
        """Whether a stream has been dirty for the whole interval: commit even without input."""
        for partition in self._offsets:
            oldest = self._streams.oldest_change(partition)
            if oldest is not None and oldest.since_s <= now_s - self._policy.interval_s:
                return True
        return False

    def horizon(self) -> int:
        """The longest replay that a crash now would need, in records of one partition's offsets."""
        return max(
            (offset - self._streams.replay_from(partition, offset) for partition, offset in self._offsets.items()),
            default=0,
        )

    def commit(
        self,
        offsets: Mapping[int, int],
        now_s: float,
        send_outputs: Callable[[], None] = nothing,
        *,
        last: bool = False,
        meanwhile: Callable[[], None] | None = None,
    ) -> Committed:
        """Send the snapshots that are due and commit the epoch at these input offsets.

        ``send_outputs`` sends what is left of the epoch's outputs: behind ``meanwhile``, where that may come first.
        ``last``: the daemon stops; save as much as `DRAIN_BYTES` allows (all, if every commit does). ``meanwhile`` is
        called once the states are not looked at any more, and may set them in motion again; what it starts is of the
        next epoch. Raises `CommitAborted` or `Fenced`; the states are then ahead of the committed offset.
        """
        self._offsets.update(offsets)
        left_s = 0.0
        if self._snapshots_follow:
            send_outputs()
            sent = self._commit_first(offsets, now_s, last=last)
            if meanwhile is not None:
                meanwhile()
        else:
            sent = self._send_due(now_s, last=last, beside=meanwhile is not None)
            left_s = self._commit_positions({*offsets, *sent.partitions}, meanwhile, send_outputs, sent.left)
        self._pace.spent(sent.rows, sent.seconds + left_s, now_s)
        return Committed(sent.records, sent.records * self._record_bytes)

    def _commit_first(self, offsets: Mapping[int, int], now_s: float, *, last: bool) -> _Sent:
        """At-least-once: the snapshots that follow count from the next commit on, which flushes them before it."""
        self._commit_positions({*offsets, *self._following})
        sent = self._send_due(now_s, last=last)
        self._following = set(sent.partitions)
        if last and self._following:
            self._commit_positions(self._following)
            self._following = set()
        return sent

    def _commit_positions(
        self,
        partitions: set[int],
        meanwhile: Callable[[], None] | None = None,
        send_outputs: Callable[[], None] = nothing,
        left: Sequence[Callable[[], None]] = (),
    ) -> float:
        """Commit, once what is left to send has been sent; returns how long that took for the snapshots."""
        positions = {partition: self._position(partition) for partition in sorted(partitions)}
        if meanwhile is not None:
            meanwhile()
        send_outputs()
        began = time.perf_counter()
        for send in left:
            send()
        took_s = time.perf_counter() - began
        if left:
            self._passing("snapshots-sent")
        self._passing("before-commit")
        self._transport.commit(positions)
        self._passing("committed")
        self._committed.update({partition: self._offsets[partition] for partition in partitions})
        return took_s

    def _position(self, partition: int) -> Position:
        offset = self._offsets[partition]
        replay_from = self._streams.replay_from(partition, offset)
        if self._snapshots_follow and self._streams.any_ended(partition):
            replay_from = min(replay_from, self._committed[partition])  # their tombstones are still to be sent
        if self._snapshots_follow:  # and what is told of the evicted
            replay_from = self._streams.closings.needed(partition, replay_from)
        self._replays[partition] = replay_from
        replays = {self._fingerprint.hex(): replay_from, **self._retained[partition]}
        partitions, ids = self._transport.input_partitions, self._transport.topic_ids
        return Position(offset, CommitMetadata(replays, self._newest.get(partition), offset, partitions, ids).encode())

    def _send_due(self, now_s: float, *, last: bool, beside: bool = False) -> _Sent:
        """``beside``: states that can be read beside the model are on their way, and what sends them is left to do."""
        began = time.perf_counter()
        if self._policy.interval_s == math.inf:
            return _Sent(0, 0, set(), 0.0, [])
        partitions = list(self._offsets)
        dirty = {partition: self._streams.dirty(partition) for partition in partitions}
        quota = self._pace.quota(sum(dirty.values()), now_s)
        if last and self._policy.interval_s > 0:
            quota = Quota(sum(dirty.values()), max(1, DRAIN_BYTES // self._record_bytes), now_s)
        slots: list[int] = []
        owners: list[int] = []
        total = sum(dirty.values())
        for partition in sorted(partitions, key=self._waiting_since):
            least = -(-quota.least * dirty[partition] // total) if total else 0
            taken = self._streams.due(partition, least, quota.most - len(slots), quota.before_s)
            slots += taken
            owners += [partition] * len(taken)
        others = {**self._gone(), **self._closings()}
        left: list[Callable[[], None]] = []
        piece = max(1, PIECE_BYTES // self._record_bytes)
        for begin in range(0, len(slots), piece):
            send = self._snapshots(
                slots[begin : begin + piece], owners[begin : begin + piece], others, beside and not last
            )
            if send is not None:
                left.append(send)
        self._send_states([p for p, _ in others], [key for _, key in others], list(others.values()))
        if not left:
            self._passing("snapshots-sent")
        seconds = time.perf_counter() - began
        written = {p for p in {*owners, *(p for p, _ in others)} if p in self._offsets}
        return _Sent(len(slots), len(slots) + len(others), written, seconds, left)

    def _snapshots(
        self, slots: list[int], owners: list[int], others: dict[tuple[int, bytes], bytes | None], beside: bool
    ) -> Callable[[], None] | None:
        """Send the snapshots of these streams as they are now; if their states are still on their way, what will do it.

        What a snapshot says is newer than what is among ``others``.
        """
        chosen = np.asarray(slots, np.int64)
        reading = self._begin_read(chosen) if beside else None
        rows = self._read_now(chosen) if reading is None else reading
        keys = self._streams.keys_of(chosen)
        offsets, timestamps = self._streams.offsets[chosen], self._streams.timestamps[chosen]
        extras = self._read_extras(chosen)
        if others:
            for partition, key in zip(owners, keys, strict=True):
                others.pop((partition, self._fingerprint + key), None)
        self._streams.saved(chosen)

        def send() -> None:
            snapshots = Snapshots(keys, rows(), offsets, timestamps, extras)
            self._send_states(owners, *encode_snapshots(self._fingerprint, snapshots))

        if reading is not None:
            return send
        send()
        return None

    def _read_now(self, slots: np.ndarray) -> Callable[[], np.ndarray]:
        found = self._read(slots)
        return lambda: found

    def _send_states(self, partitions: list[int], keys: list[bytes], values: Cells) -> None:
        if partitions:
            unknown = np.full(len(partitions), -1, np.int64)
            self._transport.send(Outgoing(np.array(partitions, np.int32), unknown, [*keys], values), "state")

    def _gone(self) -> dict[tuple[int, bytes], None]:
        """Stored keys to delete: of streams that ended, and of states that may not be used any more.

        A stream that ended and began anew needs this too, unless its new state is saved in the same
        commit: a replay begins behind its end, and must not find the state from before.
        """
        ended = [(p, self._fingerprint + key) for p, key in self._streams.take_ended()]
        old = [(p, key) for p, keys in self._obsolete.items() for key in keys]
        self._obsolete.clear()
        return dict.fromkeys([*ended, *old])

    def _closings(self) -> dict[tuple[int, bytes], bytes | None]:
        """What to write of streams that were evicted: a closing, and nothing once no replay can come across it."""
        written: dict[tuple[int, bytes], bytes | None] = {}
        if self._streams.closings.idle:
            return written
        for partition, offset in self._offsets.items():
            follow = self._snapshots_follow
            replay_from = self._replays[partition] if follow else self._streams.replay_from(partition, offset)
            closed, void = self._streams.closings.take(partition, replay_from, MOST_VOID)
            written.update(dict.fromkeys((partition, self._fingerprint + key) for key in void))
            keys, values = encode_closings(self._fingerprint, closed)
            written.update(zip(((partition, key) for key in keys), values, strict=True))
        return written

    def _waiting_since(self, partition: int) -> float:
        oldest = self._streams.oldest_change(partition)
        return float("inf") if oldest is None else oldest.since_s


@dataclass(frozen=True, slots=True)
class _Sent:
    rows: int
    records: int
    partitions: set[int]
    seconds: float
    left: list[Callable[[], None]]
