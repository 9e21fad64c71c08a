"""The transport of a shadow: it reads like a member of a group, joins nothing, commits nothing, emits nothing.

What the daemon sends goes into a comparison with what the group itself has sent, paired from one
point on: where the group stood when the partition began::

    the outputs of all input below ``committed`` lie below ``output_end``, and those of the rest above,
    if ``committed`` is the same before and after ``output_end`` is asked: both move in one transaction

It gives no input that the group has not committed. So its states are never beyond the group's, and a
member that takes them over has only to apply what lies between.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import numpy as np

from runtime.core.batch import Outgoing, RecordBatch, no_records
from runtime.core.comparison import Comparison
from runtime.transports.observer import Observer
from runtime.transports.protocol import Destination, Listener, Position, TopicIds

HELD = 100_000
"""Records held back beyond which no more input is read: the group is behind, or has stopped."""

LOOK_S = 0.05
"""How often the group is asked what it has committed, while records are held back."""

HELD_WAIT_S = 0.01
ALIGN_TRIES = 50
UNPAIRED_S = 60.0
"""What has found no pair for so long has none. Input that has to wait is not read meanwhile."""

EXPIRE_EVERY_S = 5.0


class ShadowTransport:
    """See `Transport`. Snapshots are dropped, and commits only free the daemon's epoch."""

    def __init__(self, observer: Observer, comparison: Comparison, clock: Callable[[], float] = time.monotonic) -> None:
        self.comparison = comparison
        self._observer = observer
        self._clock = clock
        self._next_expiry = clock() + EXPIRE_EVERY_S
        self._stands: dict[int, Position | None] = {}
        self._following: set[int] = set()
        self._held: dict[int, deque[RecordBatch]] = {}
        self._holding = 0
        self._reached: dict[int, int] = {}
        self._moved: set[int] = set()
        self._next_look = 0.0

    # -- reading ------------------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Nobody waits for a shadow."""

    def open(self, listener: Listener) -> None:
        self._observer.open(listener)

    @property
    def input_partitions(self) -> int:
        return self._observer.input_partitions

    @property
    def output_partitions(self) -> int:
        return self._observer.output_partitions

    @property
    def topic_ids(self) -> TopicIds:
        return self._observer.topic_ids

    @property
    def _same_partitions(self) -> bool:
        return self.input_partitions == self.output_partitions

    def poll(self, max_records: int, timeout_s: float) -> RecordBatch:
        """As `Transport.poll`, of what the group has committed."""
        self._take_theirs()
        self._look()
        for partition in sorted(self._moved):
            given = self._released(partition)
            if given is not None:
                return given
            self._moved.discard(partition)
        if self._holding >= HELD:
            time.sleep(HELD_WAIT_S)
            return no_records()
        wait_s = min(timeout_s, HELD_WAIT_S) if self._held else timeout_s
        given, rest = self._within(self._observer.poll(max_records, wait_s))
        for partition in np.unique(rest.partitions).tolist():
            mine = rest.pick(np.flatnonzero(rest.partitions == partition).tolist(), {partition})
            self._held.setdefault(partition, deque()).append(mine)
        self._holding += len(rest)
        return given

    def _released(self, partition: int) -> RecordBatch | None:
        """Of what is held back of a partition, the next that may go; ``None``: nothing may."""
        queue = self._held.get(partition)
        if not queue:
            return None
        given, rest = self._within(queue[0])
        if not given.positions:
            return None
        if len(rest):
            queue[0] = rest
        else:
            queue.popleft()
        if not queue:
            del self._held[partition]
        self._holding -= len(given)
        return given

    def _look(self) -> None:
        """Ask what the group has committed by now, of the partitions whose records are held back."""
        now = self._clock()
        if not self._held or now < self._next_look:
            return
        self._next_look = now + LOOK_S
        for partition in sorted(self._held):
            position = self._observer.committed(partition)
            reached = 0 if position is None else position.offset
            if reached != self._reached.get(partition, 0):
                self._moved.add(partition)
            self._reached[partition] = reached

    def _within(self, batch: RecordBatch) -> tuple[RecordBatch, RecordBatch]:
        """What of a batch the group has committed; and the rest, without positions where nothing is left."""
        if not batch.positions:
            return batch, no_records()
        reached = np.zeros(len(batch), np.int64)
        for partition in batch.positions:
            reached[batch.partitions == partition] = self._reached.get(partition, 0)
        within = batch.offsets < reached
        positions = {}
        for partition, offset in batch.positions.items():
            beyond = batch.offsets[(batch.partitions == partition) & ~within]
            end = min(self._reached.get(partition, 0), int(beyond.min()) if beyond.size else offset)
            if end == offset or within[batch.partitions == partition].any():
                positions[partition] = end
        if within.all():
            return replace(batch, positions=positions), no_records()
        left = set(batch.partitions[~within].tolist())
        later = {partition: offset for partition, offset in batch.positions.items() if partition in left}
        if not within.any():
            return replace(no_records(), positions=positions), replace(batch, positions=later)
        given = batch.pick(np.flatnonzero(within).tolist())
        rest = batch.pick(np.flatnonzero(~within).tolist())
        return replace(given, positions=positions), replace(rest, positions=later)

    def committed(self, partition: int) -> Position | None:
        """Where the group stood when this partition began; its outputs are compared from there on."""
        if partition not in self._stands:
            position = self._stands[partition] = self._align(partition)
            self._reached[partition] = 0 if position is None else position.offset
        return self._stands[partition]

    def _align(self, partition: int) -> Position | None:
        outputs = [partition] if self._same_partitions else list(range(self.output_partitions))
        position = self._observer.committed(partition)
        for _ in range(ALIGN_TRIES):
            ends = {output: self._observer.output_end(output) for output in outputs}
            before, position = position, self._observer.committed(partition)
            if before == position:
                break
        for output, end in ends.items():
            if output not in self._following:
                self._observer.follow_output(output, end)
                self._following.add(output)
        return position

    def bounds(self, partition: int) -> tuple[int, int]:
        return self._observer.bounds(partition)

    def offset_at(self, partition: int, timestamp_ms: int) -> int:
        return self._observer.offset_at(partition, timestamp_ms)

    def restore(self, partition: int) -> Iterator[tuple[list[bytes], list[bytes]]]:
        return self._observer.restore(partition)

    def serve(self, partition: int, offset: int) -> None:
        self._holding -= sum(map(len, self._held.pop(partition, ())))
        self._observer.serve(partition, offset)

    def lag(self) -> dict[int, int]:
        lag = self._observer.lag()
        for partition, queue in self._held.items():
            lag[partition] = lag.get(partition, 0) + sum(map(len, queue))
        return lag

    # -- comparing, instead of writing --------------------------------------------------------------------------------

    def send(self, records: Outgoing, to: Destination) -> None:
        if to == "output":
            self.comparison.ours(records, self._clock())
        elif to == "dead-letter":
            self.comparison.dead_letters += len(records)

    def commit(self, positions: Mapping[int, Position]) -> None:
        self._take_theirs()

    def abort(self) -> None:
        """All begins anew where the group stands by then."""
        self._stands.clear()
        self._following.clear()
        self._held.clear()
        self._moved.clear()
        self._holding = 0
        self.comparison.clear()

    def _take_theirs(self) -> None:
        now = self._clock()
        theirs = self._observer.outputs()
        if len(theirs):
            self.comparison.theirs(theirs, now, same_partitions=self._same_partitions)
        if now >= self._next_expiry:
            self._next_expiry = now + EXPIRE_EVERY_S
            self.comparison.expire(now - UNPAIRED_S)

    def close(self, *, leave: bool = False) -> None:
        self._observer.close()
