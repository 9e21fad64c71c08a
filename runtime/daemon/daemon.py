"""The daemon: poll, process, send, commit, over and over, and one path for every failure.

The loop runs on one thread; under load the model runs on another (`Pipeline`) while this one sends
the results of the batch before and polls the one after. A commit is a barrier: all that was polled
for it has been applied whole and its due states are read before the model goes on, and its outputs
are sent before it commits, so the position, the outputs and the states always agree. A partition's way, and who knows of it::

    assigned ──► recovering ──► replaying ──► live ──► revoked or lost
                 `_recovering`  `_replaying`  both in `_serving`
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from edge_rnn.contract.errors import BrokerUnreachable, CommitAborted, EngineError
from runtime.checkpoint.checkpoint import Checkpoint
from runtime.checkpoint.recovered import Recovered, Standing
from runtime.checkpoint.recovery import Recovery
from runtime.codecs.protocol import Decoded
from runtime.core.batch import Outgoing, RecordBatch
from runtime.core.processor import Processed, Processor
from runtime.daemon.pace import Pace
from runtime.daemon.pipeline import Pipeline
from runtime.observe.metrics import Metrics
from runtime.transports.protocol import Transport

log = logging.getLogger("edge_rnn.daemon")

IDLE_POLL_S = 0.2
"""How long a poll waits for a first record when nothing is pending; bounds how fast a stop is noticed."""

FAILURES_IN_A_ROW = 5
"""Recoveries without a commit between them after which the daemon gives up."""

PATIENCE_S = 120.0
"""Aborted commits, which a broker in trouble may cause, are put up with for at least so long."""

RETRY_PAUSE_S = 0.5
MOST_PAUSE_S = 5.0
"""Pause before the second recovery in a row; each further one waits longer, up to so long."""

MOST_BATCH_S = 0.1
"""A batch takes about a commit interval, but no longer than this: revokes and stops wait for it."""

ADVANCE_S = 0.01
"""How long replies in progress go on between two polls."""

OBSERVE_INTERVAL_S = 1.0

EPOCH_COMMITS = 5.0
"""Under load an epoch is as long as so many commits take, unless the longest interval is over before."""

COMMIT_WEIGHT = 0.2
"""Of the latest commit in the running mean of their time."""


def ignore(_name: str) -> None:
    """A fail point that never fails."""


@dataclass(frozen=True, slots=True)
class LoopSettings:
    """``commit_interval_s`` is the longest time an epoch stays open; ``max_records`` bounds one poll.

    A poll takes no more than the model gets through in that interval (see `runtime.daemon.pace`). A batch of fewer than ``background_records`` goes straight through on the loop's own thread: handing it over would
    only delay it. A replay longer than ``max_replay_records`` of a partition's offsets is warned of. Beyond
    ``max_streams`` those touched least recently are evicted.
    """

    commit_interval_s: float = 0.1
    max_records: int = 32_768
    background_records: int = 256
    max_replay_records: int = 10_000_000
    max_streams: int | None = None
    leave: bool = False
    dead_letters: bool = False


@dataclass(frozen=True, slots=True)
class _Applied:
    """A batch that went through the model, in ``took_s``; ``processed`` is ``None`` where there was nothing to emit."""

    batch: RecordBatch
    processed: Processed | None
    replayed: int
    took_s: float


class Daemon:
    """Ties a transport, a processor and its durable states together; see `run`."""

    def __init__(
        self,
        transport: Transport,
        processor: Processor,
        checkpoint: Checkpoint,
        recovery: Recovery,
        settings: LoopSettings,
        metrics: Metrics,
        passing: Callable[[str], None] = ignore,
    ) -> None:
        """``passing`` is told the names of the steps as they are passed (fail points)."""
        self._transport = transport
        self._processor = processor
        self._checkpoint = checkpoint
        self._recovery = recovery
        self._settings = settings
        self._metrics = metrics
        self._passing = passing
        self._assigned: set[int] = set()
        self._recovering: dict[int, tuple[float, Generator[None, None, Recovered]]] = {}
        self._replaying: dict[int, Recovered] = {}
        self._serving: set[int] = set()
        self._positions: dict[int, int] = {}
        self._epoch_began: float | None = None
        self._epoch_timestamps: list[np.ndarray] = []
        self._failures = 0
        self._failing_since = 0.0
        self._broken = False
        self._pipeline: Pipeline[_Applied] = Pipeline()
        self._commit_s = settings.commit_interval_s
        batch_s = min(settings.commit_interval_s, MOST_BATCH_S)
        self._pace = Pace(settings.background_records, settings.max_records, batch_s)
        self._next_observed = 0.0
        self.beat = time.monotonic()

    @property
    def unready(self) -> str | None:
        """Why this daemon does not serve all of its partitions yet; ``None`` when it does."""
        waiting = sorted({*self._assigned, *self._recovering, *self._replaying})
        if waiting:
            return f"partitions {waiting} are being brought back"
        return None if self._serving else "no partition is assigned yet"

    @property
    def standing(self) -> dict[int, Standing]:
        """After `run`: where the states of each partition are; empty when they are not known to agree."""
        return {} if self._broken else self._checkpoint.standing()

    def run(self, stop: threading.Event) -> None:
        """Serve until ``stop`` is set, then drain: what was polled is committed before this returns.

        Raises `Fenced` when another member took this one's place, `StateError` when states and
        offsets do not fit together, `EngineError` or `CommitAborted` after repeated failures, and
        `BrokerUnreachable` when there was no broker at the start.
        """
        self._transport.open(self)
        same = self._transport.input_partitions == self._transport.output_partitions
        self._processor.outbox.same_partitions = same
        try:
            while not stop.is_set():
                self.beat = time.monotonic()
                try:
                    if self._broken:
                        self._abort()
                    self._recover()
                    self._turn()
                except (CommitAborted, EngineError) as error:
                    self._start_over(error, stop)
                except BrokerUnreachable as error:
                    self._wait_for_broker(error, stop)
            self._drain()
        finally:
            self._pipeline.close()
            self._transport.close(leave=self._settings.leave)

    # Called by the transport, inside poll.

    def assigned(self, partitions: Sequence[int]) -> None:
        """Newly ours: they are brought back before they give records."""
        log.info("partitions assigned", extra={"partitions": sorted(partitions)})
        self._recovery.assigned(partitions)
        self._assigned.update(partitions)

    def revoked(self, partitions: Sequence[int]) -> None:
        """About to go to another member: commit what is open, then forget them."""
        log.info("partitions revoked", extra={"partitions": sorted(partitions)})
        try:
            if self._serving:
                self._commit(last=True)
        except (CommitAborted, EngineError, BrokerUnreachable) as error:
            log.warning("the commit before a revoke failed", extra={"error": str(error)})
            self._broken = True
            self._pipeline.drop()
        self._passing("revoked")
        self._forget(partitions)

    def lost(self, partitions: Sequence[int]) -> None:
        """Already another member's: the epoch holds work of theirs and cannot be committed."""
        log.warning("partitions lost", extra={"partitions": sorted(partitions)})
        if self._epoch_began is not None:
            self._broken = True
        self._pipeline.drop()
        self._forget(partitions)

    # The loop's parts.

    def _turn(self) -> None:
        """One poll, and a commit if one is due: at once when caught up, else now and then."""
        busy = self._epoch_began is not None or self._assigned or self._recovering or self._processor.busy
        batch = self._transport.poll(self._pace.size, 0.0 if busy else IDLE_POLL_S)
        self._passing("polled")
        if self._broken:  # partitions went away in the poll, and the epoch with them
            return
        self._finish(self._pipeline.ready())
        loaded = len(batch) >= self._settings.background_records
        if not self._serving.issuperset(batch.positions):  # partitions that went away inside the poll
            still_ours = np.isin(batch.partitions, list(self._serving))
            batch = batch.pick(np.flatnonzero(still_ours).tolist(), self._serving)
        due = self._due()
        if due and loaded and len(batch) and not self._replaying:
            self._commit(following=batch)
        else:
            self._apply(batch)
            going_on = not self._pipeline and self._processor.busy and self._advance()
            if self._epoch_began is None:
                if not self._pipeline and self._checkpoint.overdue(time.monotonic()):
                    self._commit()
            elif due or not (loaded or going_on):  # what has come is what one poll gives: nobody waits for the interval
                self._commit()
        self._observe()

    def _advance(self) -> bool:
        """Replies in progress go on between two polls; whether there is more to say."""
        live = self._serving.difference(self._replaying)
        end = time.monotonic() + ADVANCE_S
        while (now := time.monotonic()) < end:
            processed = self._processor.advance(live, now)
            if processed is None:
                return False
            self._epoch_began = self._epoch_began or now
            self._passing("advanced")
            if len(processed.outputs):
                self._transport.send(processed.outputs, "output")
            self._epoch_timestamps.append(np.empty(0, np.int64))
            self._metrics.applied(0, len(processed.outputs), 0, processed.steps)
        return True

    def _due(self) -> bool:
        """Whether an epoch under load is long enough: for its commit to be a small part, but no longer than allowed."""
        began = self._epoch_began
        longest_s = min(self._settings.commit_interval_s, EPOCH_COMMITS * self._commit_s)
        return began is not None and time.monotonic() - began >= longest_s

    def _apply(self, batch: RecordBatch) -> None:
        """Take a batch through the model: here if it is small, else in the background."""
        if not batch.positions:
            return
        again, rest = self._split(batch) if self._replaying else (None, batch)
        reached = [p for p, recovered in self._replaying.items() if batch.positions.get(p, -1) >= recovered.offset]
        records = len(rest) + (0 if again is None else len(again))
        if records:
            self._epoch_began = self._epoch_began or time.monotonic()
        if not records and not self._pipeline:
            # Past markers: worth a place in the next commit, not one of its own.
            self._positions.update(rest.positions)
        elif self._pipeline or records >= self._settings.background_records:
            self._prepared(rest, again)()
        else:
            self._finish([self._through_model(rest, again, time.monotonic())])
        if reached:
            self._finish(self._pipeline.wait())
            for partition in reached:
                self._live(partition, self._replaying[partition])

    def _prepared(self, batch: RecordBatch, again: RecordBatch | None = None) -> Callable[[], None]:
        """Decode a batch here, while the model is at the one before; what is returned sends it after that one."""
        now = time.monotonic()
        decoded = self._processor.decode(batch) if len(batch) else None
        return lambda: self._pipeline.begin(lambda: self._through_model(batch, again, now, decoded))

    def _through_model(
        self, batch: RecordBatch, again: RecordBatch | None, now: float, decoded: Decoded | None = None
    ) -> _Applied:
        """What runs in the background: first what is replayed, then what is new."""
        began = time.monotonic()
        replayed = 0 if again is None else self._processor.replay(again, now)
        processed = self._processor.process(batch, now, decoded) if len(batch) else None
        return _Applied(batch, processed, replayed, time.monotonic() - began)

    def _finish(self, applied: list[_Applied]) -> None:
        """Note how far the model is, and send what it said."""
        self._note(applied)
        self._send(applied)

    def _note(self, applied: list[_Applied]) -> None:
        """How far the model is; nobody of the streams goes after this, so that it may go on."""
        for each in applied:
            batch, processed = each.batch, each.processed
            self._metrics.replayed(each.replayed)
            self._pace.took(len(batch) + each.replayed, each.took_s)
            if processed is not None:
                for partition in batch.positions:
                    mine = batch.timestamps[batch.partitions == partition]
                    if mine.size:
                        self._checkpoint.seen(partition, int(mine.max()))
                self._epoch_timestamps.append(batch.timestamps)
                self._metrics.applied(len(batch), len(processed.outputs), len(processed.errors), processed.steps)
            self._positions.update(batch.positions)
        if applied and not self._pipeline:
            self._evict()

    def _send(self, applied: list[_Applied]) -> None:
        """What the model said."""
        for each in applied:
            if each.processed is not None:
                self._passing("applied")
                if len(each.processed.outputs):
                    self._transport.send(each.processed.outputs, "output")
                if each.processed.errors:
                    self._bury(each.processed.dead_letters, each.processed.errors)
                self._passing("sent")

    def _evict(self) -> None:
        most = self._settings.max_streams
        if most is not None and len(self._processor.streams) > most:
            self._metrics.evicted(self._checkpoint.evict(most))

    def _split(self, batch: RecordBatch) -> tuple[RecordBatch | None, RecordBatch]:
        """What lies before each partition's committed offset, to apply without emitting; and the rest."""
        until = np.zeros(len(batch), np.int64)
        for partition, recovered in self._replaying.items():
            until[batch.partitions == partition] = recovered.offset
        again = batch.offsets < until
        # A partition that is still replaying takes no part in offset commits.
        positions = {
            p: offset
            for p, offset in batch.positions.items()
            if p not in self._replaying or offset >= self._replaying[p].offset
        }
        rest = replace(self._picked(batch, ~again), positions=positions)
        return (self._picked(batch, again) if again.any() else None), rest

    def _picked(self, batch: RecordBatch, mask: np.ndarray) -> RecordBatch:
        return batch if mask.all() else batch.pick(np.flatnonzero(mask).tolist(), self._serving)

    def _bury(self, records: Outgoing, errors: list[str]) -> None:
        """Send dead letters within the epoch; without a topic for them they are logged and counted."""
        if self._settings.dead_letters:
            self._transport.send(records, "dead-letter")
            return
        for key, error, headers in zip(records.keys, errors, records.headers or [], strict=True):
            origin = {name.removeprefix("edge-rnn-"): value.decode() for name, value in headers[1:]}
            log.error("record skipped; see --dead-letter", extra={"key": repr(key), "error": error, **origin})

    def _commit(self, *, last: bool = False, following: RecordBatch | None = None) -> None:
        """The barrier; see the top. ``following`` goes through the model while the broker commits."""
        begin_next = None if following is None else self._prepared(following)
        applied = self._pipeline.wait()
        self._note(applied)
        self._observe()
        began = time.monotonic()
        committed = self._checkpoint.commit(
            self._positions, began, lambda: self._send(applied), last=last, meanwhile=begin_next
        )
        took_s = time.monotonic() - began
        self._commit_s += COMMIT_WEIGHT * (took_s - self._commit_s)
        self._metrics.committed(took_s, committed.snapshots, committed.snapshot_bytes, self._epoch_timestamps)
        if self._epoch_timestamps:
            self._failures = 0
        self._end_epoch()
        if self._pipeline:
            self._epoch_began = time.monotonic()

    def _end_epoch(self) -> None:
        self._positions = {}
        self._epoch_began = None
        self._epoch_timestamps = []

    def _recover(self) -> None:
        """Bring the partitions that are newly ours a piece further; those that are done are served."""
        if self._assigned or self._recovering:
            self._finish(self._pipeline.wait())
        now = time.monotonic()
        for partition in sorted(self._assigned):
            self._assigned.discard(partition)
            if not self._recovery.holds(partition):
                self._checkpoint.drop([partition])
            self._recovering[partition] = (now, self._recovery.recover(partition))
        for partition, (began, work) in sorted(self._recovering.items()):
            try:
                next(work)
            except StopIteration as done:
                del self._recovering[partition]
                self._assigned.add(partition)  # serving fails if it went meanwhile; if not, it begins again
                self._serve(partition, done.value, began)
                self._assigned.discard(partition)

    def _serve(self, partition: int, recovered: Recovered, began: float) -> None:
        self._transport.serve(partition, recovered.replay_from)
        self._serving.add(partition)
        self._passing("restored")
        seconds = time.monotonic() - began
        self._metrics.restored(recovered.streams, seconds)
        log.info(
            "partition restored",
            extra={
                "partition": partition,
                "offset": recovered.offset,
                "replay": recovered.offset - recovered.replay_from,
                "streams": recovered.streams,
                "seconds": round(seconds, 3),
            },
        )
        if recovered.replay_from < recovered.offset:
            self._replaying[partition] = recovered
        else:
            self._live(partition, recovered)

    def _live(self, partition: int, recovered: Recovered) -> None:
        """From this offset on the partition's records have outputs, and its states are saved and committed."""
        self._replaying.pop(partition, None)
        self._checkpoint.begin(partition, recovered)
        if recovered.anew:
            self._positions.setdefault(partition, recovered.offset)
            self._epoch_began = self._epoch_began or time.monotonic()
        log.info("partition ready", extra={"partition": partition, "streams": self._processor.streams.live(partition)})

    def _start_over(self, error: Exception, stop: threading.Event) -> None:
        """Every failure's path: nothing of the epoch stays; all partitions recover from their committed offsets."""
        now = time.monotonic()
        self._failing_since = self._failing_since if self._failures else now
        self._failures += 1
        self._metrics.failed()
        patience_s = 0.0 if isinstance(error, EngineError) else PATIENCE_S
        if self._failures >= FAILURES_IN_A_ROW and now - self._failing_since >= patience_s:
            raise error
        log.warning("epoch failed, recovering", extra={"error": str(error), "failures": self._failures})
        self._broken = True
        if self._failures > 1:
            stop.wait(min(RETRY_PAUSE_S * (self._failures - 1), MOST_PAUSE_S))

    def _wait_for_broker(self, error: BrokerUnreachable, stop: threading.Event) -> None:
        """A broker that is away is waited for, however long; then all recovers as after any failure."""
        log.warning("waiting for the broker", extra={"error": str(error)})
        self._broken = True
        stop.wait(RETRY_PAUSE_S)

    def _abort(self) -> None:
        self._broken = True
        self._pipeline.drop()
        self._transport.abort()
        self._broken = False
        self._end_epoch()
        served = sorted(self._serving)
        self._checkpoint.drop(served)
        self._assigned.update(served, self._recovering)
        self._serving.clear()
        self._recovering.clear()
        self._replaying.clear()

    def _forget(self, partitions: Sequence[int]) -> None:
        self._checkpoint.drop(list(partitions))
        for partition in partitions:
            self._positions.pop(partition, None)
            self._recovering.pop(partition, None)
            self._replaying.pop(partition, None)
        self._serving.difference_update(partitions)
        self._assigned.difference_update(partitions)

    def _drain(self) -> None:
        """Commit what was applied. A failure here loses nothing: the next start goes on from the last commit."""
        if self._broken:
            log.warning("stopped without a last commit; the next start repeats what was open")
            return
        try:
            self._commit(last=True)
        except (CommitAborted, EngineError, BrokerUnreachable) as error:
            self._broken = True
            log.warning("the last commit failed; the next start repeats it", extra={"error": str(error)})
        else:
            log.info("drained and committed")

    def _observe(self) -> None:
        now = time.monotonic()
        if self._pipeline or now < self._next_observed:
            return
        self._next_observed = now + OBSERVE_INTERVAL_S
        horizon = self._checkpoint.horizon()
        self._metrics.observed(self._transport.lag(), len(self._processor.streams), horizon)
        if horizon > self._settings.max_replay_records:
            log.warning("a crash now would replay much; raise --snapshot-budget", extra={"records": horizon})
