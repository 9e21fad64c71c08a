"""What goes into a commit beside the outputs: the snapshots that are due, the offsets, and from where to replay.

::

    1. choose     a few dirty streams, the oldest first, and all that ended
    2. send       their snapshots and tombstones, within the open epoch
    3. commit     with each offset, the lowest one that a dirty stream still needs
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edge_rnn.contract.fingerprint import FINGERPRINT_BYTES
from runtime.checkpoint.metadata import CommitMetadata
from runtime.checkpoint.policy import Quota, SnapshotPace, SnapshotPolicy
from runtime.checkpoint.snapshot import HEADER, Snapshots, encode_snapshots
from runtime.core.batch import Outgoing
from runtime.core.processor import Processor
from runtime.transports.protocol import Position, Transport

DRAIN_BYTES = 64 << 20
"""Most bytes of state saved when stopping, so that the next start has little to replay and this one ends soon."""


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
    ) -> None:
        """``passing`` is told the names of the commit's steps as they are passed (fail points)."""
        self._streams = processor.streams
        self._read = processor.read_states
        self._transport = transport
        self._fingerprint = fingerprint
        self._policy = policy
        self._record_bytes = HEADER.itemsize + state_bytes
        self._pace = SnapshotPace(policy, self._record_bytes)
        self._passing = passing
        self._offsets: dict[int, int] = {}
        self._obsolete: dict[int, list[bytes]] = {}

    def begin(self, partition: int, offset: int, obsolete: Sequence[bytes] = ()) -> None:
        """A partition is live from ``offset`` on; ``obsolete`` are stored keys that the next commit deletes."""
        self._offsets[partition] = offset
        if obsolete:
            self._obsolete[partition] = list(obsolete)

    def drop(self, partitions: list[int]) -> None:
        """Forget these partitions' streams: they are another member's, or will be recovered."""
        self._streams.drop(partitions)
        for partition in partitions:
            self._offsets.pop(partition, None)
            self._obsolete.pop(partition, None)

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

    def commit(self, offsets: Mapping[int, int], now_s: float, *, last: bool = False) -> Committed:
        """Send the snapshots that are due and commit the epoch at these input offsets.

        ``last``: the daemon stops; save as much as `DRAIN_BYTES` allows. Raises `CommitAborted` or
        `Fenced`; the states are then ahead of the committed offset.
        """
        began = time.perf_counter()
        self._offsets.update(offsets)
        saved = self._send_due(now_s, last=last)
        seconds = time.perf_counter() - began
        self._passing("snapshots-sent")
        name = self._fingerprint.hex()
        positions = {}
        for partition, offset in self._offsets.items():
            if partition in offsets or partition in saved.partitions:
                replay_from = self._streams.replay_from(partition, offset)
                positions[partition] = Position(offset, CommitMetadata({name: replay_from}).encode())
        self._passing("before-commit")
        self._transport.commit(positions)
        self._passing("committed")
        self._streams.forget_ended()
        self._obsolete.clear()
        self._pace.spent(saved.rows, seconds, now_s)
        return Committed(saved.records, saved.records * self._record_bytes)

    def _send_due(self, now_s: float, *, last: bool) -> _Sent:
        partitions = list(self._offsets)
        dirty = {partition: self._streams.dirty(partition) for partition in partitions}
        quota = self._pace.quota(sum(dirty.values()), now_s)
        if last:
            quota = Quota(sum(dirty.values()), max(1, DRAIN_BYTES // self._record_bytes), now_s)
        slots: list[int] = []
        owners: list[int] = []
        total = sum(dirty.values())
        for partition in sorted(partitions, key=self._waiting_since):
            least = -(-quota.least * dirty[partition] // total) if total else 0
            taken = self._streams.due(partition, least, quota.most - len(slots), quota.before_s)
            slots += taken
            owners += [partition] * len(taken)
        chosen = np.asarray(slots, np.int64)
        keys, values = encode_snapshots(
            self._fingerprint,
            Snapshots(
                [self._streams.key_of(slot) for slot in slots],
                self._read(chosen),
                self._streams.offsets[chosen],
                self._streams.timestamps[chosen],
            ),
        )
        self._streams.saved(chosen)
        gone = self._gone(set(zip(owners, keys, strict=True)))
        if keys or gone:
            self._transport.send(
                Outgoing(
                    partitions=np.array([*owners, *(p for p, _ in gone)], np.int32),
                    timestamps=np.full(len(owners) + len(gone), -1, np.int64),
                    keys=[*keys, *(key for _, key in gone)],
                    values=[*values, *([None] * len(gone))],
                ),
                "state",
            )
        return _Sent(len(slots), len(slots) + len(gone), {*owners, *(p for p, _ in gone)})

    def _gone(self, fresh: set[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
        """Stored keys to delete: of streams that ended, and of states that may not be used any more.

        A stream that ended and began anew needs this too, unless its new state is ``fresh``, saved in
        this commit: a replay begins behind its end, and must not find the state from before.
        """
        ended = [(p, self._fingerprint + key) for p, key in self._streams.ended()]
        old = [(p, key) for p, keys in self._obsolete.items() for key in keys]
        return [stored for stored in dict.fromkeys([*ended, *old]) if stored not in fresh]

    def _waiting_since(self, partition: int) -> float:
        oldest = self._streams.oldest_change(partition)
        return float("inf") if oldest is None else oldest.since_s


@dataclass(frozen=True, slots=True)
class _Sent:
    rows: int
    records: int
    partitions: set[int]


def split_fingerprints(newest: Mapping[bytes, bytes], fingerprint: bytes) -> tuple[dict[bytes, bytes], list[bytes]]:
    """The stored snapshots of one fingerprint, and the keys of all others; deleted ones are in neither."""
    ours = {k: v for k, v in newest.items() if v and k[:FINGERPRINT_BYTES] == fingerprint}
    others = [k for k, v in newest.items() if v and k[:FINGERPRINT_BYTES] != fingerprint]
    return ours, others
