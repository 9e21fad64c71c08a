"""The transport of a shadow: it reads like a member of a group, joins nothing, commits nothing, emits nothing.

What the daemon sends goes into a comparison with what the group itself has sent, paired from one
point on: where the group stood when the partition began::

    the outputs of all input below ``committed`` lie below ``output_end``, and those of the rest above,
    if ``committed`` is the same before and after ``output_end`` is asked: both move in one transaction
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping

from runtime.core.batch import Outgoing, RecordBatch, no_records
from runtime.core.comparison import Comparison
from runtime.transports.observer import Observer
from runtime.transports.protocol import Destination, Listener, Position, TopicIds

AHEAD = 100_000
"""Outputs that wait for their pair beyond which no more input is read: the group is behind, or has stopped."""

AHEAD_WAIT_S = 0.02
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

    # -- reading ------------------------------------------------------------------------------------------------------

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
        self._take_theirs()
        if self.comparison.waiting >= AHEAD:
            time.sleep(min(AHEAD_WAIT_S, timeout_s) if timeout_s else AHEAD_WAIT_S)
            return no_records()
        return self._observer.poll(max_records, timeout_s)

    def committed(self, partition: int) -> Position | None:
        """Where the group stood when this partition began; its outputs are compared from there on."""
        if partition not in self._stands:
            self._stands[partition] = self._align(partition)
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
        self._observer.serve(partition, offset)

    def lag(self) -> dict[int, int]:
        return self._observer.lag()

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
