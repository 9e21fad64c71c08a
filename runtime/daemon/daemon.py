"""The daemon: poll, process, send, commit, over and over, and one path for every failure.

The loop runs on one thread. What was polled is applied whole before the next poll, so at a commit
the position, the outputs and the states always agree.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge_rnn.contract.errors import CommitAborted, EngineError
from runtime.checkpoint.checkpoint import Checkpoint
from runtime.core.batch import Outgoing, RecordBatch
from runtime.core.processor import Processor
from runtime.observe.metrics import Metrics
from runtime.transports.protocol import Transport

log = logging.getLogger("edge_rnn.daemon")

IDLE_POLL_S = 0.2
"""How long a poll waits for a first record when nothing is pending; bounds how fast a stop is noticed."""

FAILURES_IN_A_ROW = 5
"""Recoveries without a commit between them after which the daemon gives up."""

RETRY_PAUSE_S = 0.5
"""Pause before the second and each further recovery in a row."""

LAG_INTERVAL_S = 1.0


@dataclass(frozen=True, slots=True)
class LoopSettings:
    """``commit_interval_s`` is the longest time an epoch stays open; ``max_records`` bounds one poll."""

    commit_interval_s: float = 0.1
    max_records: int = 4096
    leave: bool = False
    dead_letters: bool = False


class Daemon:
    """Ties a transport, a processor and its checkpoint together; see `run`."""

    def __init__(
        self,
        transport: Transport,
        processor: Processor,
        checkpoint: Checkpoint,
        settings: LoopSettings,
        metrics: Metrics,
    ) -> None:
        self._transport = transport
        self._processor = processor
        self._checkpoint = checkpoint
        self._settings = settings
        self._metrics = metrics
        self._serving: set[int] = set()
        self._to_recover: set[int] = set()
        self._positions: dict[int, int] = {}
        self._epoch_began: float | None = None
        self._epoch_timestamps: list[np.ndarray] = []
        self._failures = 0
        self._next_lag = 0.0
        self.ready = False
        self.beat = time.monotonic()

    def run(self, stop: threading.Event) -> None:
        """Serve until ``stop`` is set, then drain: what was polled is committed before this returns.

        Raises `Fenced` when another member took this one's place, `StateError` when states and
        offsets do not fit together, `EngineError` or `CommitAborted` after repeated failures.
        """
        self._transport.open(self)
        try:
            while not stop.is_set():
                self.beat = time.monotonic()
                try:
                    self._recover(stop)
                    self._turn()
                except (CommitAborted, EngineError) as error:
                    self._start_over(error, stop)
            self._drain()
        finally:
            self.ready = False
            self._transport.close(leave=self._settings.leave)

    # Called by the transport, inside poll or close.

    def assigned(self, partitions: Sequence[int]) -> None:
        """Newly ours: they are recovered before the next poll."""
        log.info("partitions assigned", extra={"partitions": sorted(partitions)})
        self._to_recover.update(partitions)

    def revoked(self, partitions: Sequence[int]) -> None:
        """About to go to another member: commit what is open, then forget them."""
        log.info("partitions revoked", extra={"partitions": sorted(partitions)})
        try:
            if self._epoch_began is not None:
                self._commit()
        except CommitAborted as error:
            log.warning("the commit before a revoke failed", extra={"error": str(error)})
            self._abort()
        self._forget(partitions)

    def lost(self, partitions: Sequence[int]) -> None:
        """Already another member's: the epoch holds work of theirs and cannot be committed."""
        log.warning("partitions lost", extra={"partitions": sorted(partitions)})
        if self._epoch_began is not None:
            self._abort()
        self._forget(partitions)

    # The loop's parts.

    def _turn(self) -> None:
        """One poll, and a commit if one is due: at once when caught up, else at the interval's end."""
        waiting = self._epoch_began is None
        batch = self._transport.poll(self._settings.max_records, IDLE_POLL_S if waiting else 0.0)
        if len(batch):
            self._apply(batch)
        began = self._epoch_began
        if began is not None and (not len(batch) or time.monotonic() - began >= self._settings.commit_interval_s):
            self._commit()
        self._observe()

    def _apply(self, batch: RecordBatch) -> None:
        batch = self._served(batch)
        if not len(batch):
            return
        if self._epoch_began is None:
            self._epoch_began = time.monotonic()
        processed = self._processor.process(batch)
        if len(processed.outputs):
            self._transport.send(processed.outputs, "output")
        if processed.errors:
            self._bury(processed.dead_letters, processed.errors)
        self._positions.update(batch.positions)
        self._epoch_timestamps.append(batch.timestamps)
        self._metrics.applied(len(batch), len(processed.outputs), len(processed.errors), processed.steps)

    def _served(self, batch: RecordBatch) -> RecordBatch:
        """Without records of partitions that went away inside the poll that gave them."""
        if self._serving.issuperset(batch.positions):
            return batch
        keep = np.flatnonzero(np.isin(batch.partitions, list(self._serving)))
        return RecordBatch(
            partitions=batch.partitions[keep],
            offsets=batch.offsets[keep],
            timestamps=batch.timestamps[keep],
            keys=[batch.keys[index] for index in keep.tolist()],
            values=[batch.values[index] for index in keep.tolist()],
            positions={p: offset for p, offset in batch.positions.items() if p in self._serving},
            headers=None if batch.headers is None else [batch.headers[index] for index in keep.tolist()],
        )

    def _bury(self, records: Outgoing, errors: list[str]) -> None:
        """Send dead letters within the epoch; without a topic for them they are logged and counted."""
        if self._settings.dead_letters:
            self._transport.send(records, "dead-letter")
            return
        for key, error, headers in zip(records.keys, errors, records.headers or [], strict=True):
            origin = {name.removeprefix("edge-rnn-"): value.decode() for name, value in headers[1:]}
            log.error("record skipped; see --dead-letter", extra={"key": repr(key), "error": error, **origin})

    def _commit(self) -> None:
        began = time.monotonic()
        snapshots = self._checkpoint.commit(self._positions)
        seconds = time.monotonic() - began
        self._metrics.committed(seconds, snapshots, self._epoch_timestamps)
        if self._epoch_timestamps:
            self._failures = 0
        self._end_epoch()

    def _end_epoch(self) -> None:
        self._positions = {}
        self._epoch_began = None
        self._epoch_timestamps = []

    def _recover(self, stop: threading.Event) -> None:
        """Bring back the partitions that are newly ours, then let each of them give records."""
        for partition in sorted(self._to_recover):
            if stop.is_set():
                return
            began = time.monotonic()
            recovered = self._checkpoint.recover(partition)
            self._to_recover.discard(partition)
            self._serving.add(partition)
            self._transport.serve(partition, recovered.offset)
            if recovered.anew:
                self._positions[partition] = recovered.offset
                self._epoch_began = self._epoch_began or time.monotonic()
            seconds = time.monotonic() - began
            self._metrics.restored(recovered.streams, seconds)
            log.info(
                "partition ready",
                extra={
                    "partition": partition,
                    "offset": recovered.offset,
                    "streams": recovered.streams,
                    "seconds": round(seconds, 3),
                },
            )
        if self._serving:
            self.ready = True

    def _start_over(self, error: Exception, stop: threading.Event) -> None:
        """Every failure's path: nothing of the epoch stays; all partitions recover from their committed offsets."""
        self._failures += 1
        self._metrics.failed()
        if self._failures >= FAILURES_IN_A_ROW:
            raise error
        log.warning("epoch failed, recovering", extra={"error": str(error), "failures": self._failures})
        self._abort()
        if self._failures > 1:
            stop.wait(RETRY_PAUSE_S)

    def _abort(self) -> None:
        self._transport.abort()
        self._end_epoch()
        served = sorted(self._serving)
        self._checkpoint.drop(served)
        self._to_recover.update(served)
        self._serving.clear()

    def _forget(self, partitions: Sequence[int]) -> None:
        self._checkpoint.drop(list(partitions))
        for partition in partitions:
            self._positions.pop(partition, None)
        self._serving.difference_update(partitions)
        self._to_recover.difference_update(partitions)

    def _drain(self) -> None:
        """Commit what was applied. A failure here loses nothing: the next start goes on from the last commit."""
        if self._epoch_began is None:
            return
        try:
            self._commit()
        except CommitAborted as error:
            log.warning("the last commit failed; the next start repeats it", extra={"error": str(error)})
        else:
            log.info("drained and committed")

    def _observe(self) -> None:
        now = time.monotonic()
        if now >= self._next_lag:
            self._next_lag = now + LAG_INTERVAL_S
            self._metrics.observed(self._transport.lag(), len(self._processor.streams))
