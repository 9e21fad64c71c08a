"""Records in, records out: decode, find the streams, step them, encode. The same for daemon and replay."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Executor, wait
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from runtime.codecs.protocol import Decoded, Decoder, Encoder, refuse_non_integers
from runtime.core.batch import Outgoing, RecordBatch
from runtime.core.column import Cells, Column, as_column, nulls
from runtime.core.outbox import HeaderMode, Outbox
from runtime.core.scheduler import Limits, plans
from runtime.core.sound import Sound
from runtime.core.stepping import Stepper, Stepping
from runtime.core.streams import StreamTable
from runtime.engines.protocol import Engine

NullKey = Literal["dead-letter", "partition"]


@dataclass(frozen=True, slots=True)
class ProcessorSettings:
    """How records become streams and outputs.

    ``topic`` names the origin in headers, ``model`` what made the output: ``headers`` is ``none``,
    ``model``, ``origin`` (model and origin), or ``trace`` (these and the input's trace context).
    ``null_key``: a record without a key is a dead letter, or belongs to the one keyless stream of
    its partition. ``idle_reset_ms``: a stream that was silent for longer, by record time, begins anew.
    ``threads``: an executor's, and the caller's; streams are stepped on all of them where there is enough to do.
    ``evicts``: streams may be evicted, for which it is noted who was touched when.
    """

    topic: str
    model: str = ""
    headers: HeaderMode = "none"
    null_key: NullKey = "dead-letter"
    idle_reset_ms: int | None = None
    max_output_bytes: int | None = None
    limits: Limits = field(default_factory=Limits)
    threads: int = 1
    evicts: bool = True


@dataclass(frozen=True, slots=True)
class Processed:
    """What came of a batch: outputs and dead letters in input order, and how many steps were taken."""

    outputs: Outgoing
    dead_letters: Outgoing
    errors: list[str]
    steps: int


@dataclass(frozen=True, slots=True)
class _Applied:
    """Outputs, decoded rows, rows a record, errors by record; ``told``: values by record in place of rows."""

    results: list[np.ndarray]
    decoded: Decoded
    lengths: np.ndarray
    errors: dict[int, str]
    told: dict[int, bytes] | None


class Processor:
    """Applies batches to the states of their streams. Pure but for the states it holds: no clock, no I/O."""

    def __init__(
        self,
        engine: Engine,
        decoder: Decoder,
        encoder: Encoder,
        settings: ProcessorSettings,
        others: Executor | None = None,
        sound: Sound | None = None,
    ) -> None:
        """``others``: the threads beside the caller's, where the settings have more than one.

        ``sound``: what makes windows of samples before the model and segments of scores behind it.
        """
        self.streams = StreamTable(evicts=settings.evicts)
        self.outbox = Outbox(settings.topic, settings.model, settings.headers, settings.max_output_bytes)
        self._engine = engine
        self._stepper = Stepper(engine)
        self._decoder = decoder
        self._encoder = encoder
        self._settings = settings
        limits = settings.limits
        self._limits = limits if engine.manifest.has_time else replace(limits, chunk=1)
        self._others = others
        self._sound = sound
        columns = [spec.dtype for spec in engine.manifest.inputs for _ in range(spec.width)]
        self._integers = {i: dtype for i, dtype in enumerate(columns) if np.dtype(dtype).kind in "iu"}

    def decode(self, batch: RecordBatch) -> Decoded | None:
        """Read the values of a batch for `process`, ahead of it: nothing of the states is looked at."""
        return self._decode(batch)

    def _decode(self, batch: RecordBatch) -> Decoded:
        decoded = self._decoder.decode(batch.values)
        return refuse_non_integers(decoded, self._integers) if self._integers else decoded

    def process(self, batch: RecordBatch, now_s: float = 0.0, decoded: Decoded | None = None) -> Processed:
        """Take a batch through the model. Every record gives one output, or one dead letter, or ends its stream.

        ``decoded`` is what `decode` made of the same batch, if it was called. ``now_s`` is any clock that does not go back; changes are snapshotted in its order. Raises
        `EngineError` when the model fails: the states are then undefined and must be dropped.
        """
        applied = self._apply(batch, now_s, decoded)
        lengths, errors = applied.lengths, applied.errors
        values: Cells
        if applied.told is None:
            good = lengths > 0
            if errors:
                good[list(errors)] = False
            chosen = np.flatnonzero(good) if not good.all() else np.arange(len(batch))
            values = self._encoder.encode(applied.results, applied.decoded.starts[chosen], lengths[chosen])
        else:
            chosen = np.asarray(sorted(applied.told), np.int64)
            values = [applied.told[record] for record in chosen.tolist()]
        chosen, values = self.outbox.fitting(batch, chosen, values, errors)
        return Processed(
            outputs=self.outbox.outputs(batch, chosen, values),
            dead_letters=self.outbox.dead_letters(batch, errors),
            errors=[errors[index] for index in sorted(errors)],
            steps=int(lengths.sum()),
        )

    def replay(self, batch: RecordBatch, now_s: float = 0.0) -> int:
        """Apply again what was committed before, each stream from its snapshot on, and emit nothing.

        A record that its stream's snapshot already holds, or that was over before an eviction, is
        passed over. Returns how many records were applied. Raises `EngineError`.
        """
        keys = self._stream_keys(batch, {})
        new = self.streams.seen(batch.partitions, keys) < batch.offsets
        keep = np.flatnonzero(new).tolist()
        if keep:
            self._apply(batch if len(keep) == len(batch) else batch.pick(keep), now_s)
        return len(keep)

    def _apply(self, batch: RecordBatch, now_s: float, decoded: Decoded | None = None) -> _Applied:
        """Step every stream through its records."""
        errors: dict[int, str] = {}
        keys = self._stream_keys(batch, errors)
        tombstones = [index for index in nulls(batch.values).tolist() if index not in errors]
        decoded = self._decode(batch) if decoded is None else decoded
        ends = set(tombstones)
        for index, error in decoded.errors.items():
            if index not in ends:
                errors.setdefault(index, error)
        lengths = decoded.lengths.copy()
        if errors or tombstones:
            lengths[[*errors, *tombstones]] = 0
        slots, ended = self._slots(batch, keys, tombstones, lengths)
        told: dict[int, bytes] | None = None
        try:
            if self._sound is not None:
                decoded, lengths = self._sound.windows(decoded, slots, lengths)
            results = self._run(decoded.rows, slots, decoded.starts, lengths, errors)
            if self._sound is not None:
                told = self._sound.told(results[0], slots, decoded.starts, lengths, errors)
            live = np.flatnonzero(slots >= 0)
            if live.size:
                self.streams.touch(slots[live], batch.offsets[live], batch.timestamps[live], now_s)
        finally:
            self.streams.release(ended)
        return _Applied(results, decoded, lengths, errors, told)

    @property
    def state_bytes(self) -> int:
        """Bytes of a stream's share of a snapshot: the model's states, and what is carried beside them."""
        return self._engine.manifest.state_bytes + (0 if self._sound is None else self._sound.carried.row_bytes)

    @property
    def busy(self) -> bool:
        """Whether there is something to say without further input (see `runtime.core.generating`)."""
        return False

    def advance(self, partitions: Collection[int], now_s: float) -> Processed | None:
        """Go on with that for streams of these partitions; ``None``: there is nothing."""
        return None

    def read_extras(self, slots: np.ndarray) -> list[bytes] | None:
        """What a snapshot holds of these slots beside the states; ``None``: nothing."""
        return None

    def restore(
        self,
        partition: int,
        keys: Sequence[bytes],
        rows: np.ndarray,
        offsets: np.ndarray,
        timestamps: np.ndarray,
        extras: Sequence[bytes] | None = None,
    ) -> None:
        """Bring streams of a partition back: ``rows`` is uint8[n, state_bytes], the rest int64[n]; see `read_extras`."""
        slots = self.streams.restore(partition, keys, offsets, timestamps)
        self._engine.grow(self.streams.capacity)
        own = self._engine.manifest.state_bytes
        self._engine.write(slots, rows[:, :own])
        if self._sound is not None:
            self._sound.carried.grow(self.streams.capacity)
            self._sound.carried.write(slots, rows[:, own:])

    def read_states(self, slots: np.ndarray) -> np.ndarray:
        """The states of these slots as bytes: uint8[n, state_bytes]."""
        states = self._engine.read(slots)
        return states if self._sound is None else np.concatenate([states, self._sound.carried.read(slots)], axis=1)

    def begin_read_states(self, slots: np.ndarray) -> Callable[[], np.ndarray] | None:
        """Begin to read them as they are now, beside the calls that follow; what is returned waits for them.

        ``None``: this engine works with its caller, who uses `read_states`.
        """
        if self._stepper.overlapping is None:
            return None
        states = self._stepper.overlapping.begin_read(slots)
        if self._sound is None:
            return states
        carried = self._sound.carried.read(slots)
        return lambda: np.concatenate([states(), carried], axis=1)

    def _stream_keys(self, batch: RecordBatch, errors: dict[int, str]) -> Column:
        """The key of each record's stream, none of which is ``None``."""
        keys = as_column(batch.keys)
        missing = nulls(keys)
        if not missing.size:
            return keys
        if self._settings.null_key == "dead-letter":
            reason = "the record has no key, so no stream; see --null-key partition"
            errors.update(dict.fromkeys(missing.tolist(), reason))
        return Column(keys.data, keys.starts, np.maximum(keys.lengths, 0))

    def _slots(
        self, batch: RecordBatch, keys: Column, tombstones: Sequence[int], lengths: np.ndarray
    ) -> tuple[np.ndarray, list[int]]:
        """The slot of each record (-1: none), and the slots of streams that end inside this batch."""
        ends = np.asarray(tombstones, np.int64)
        slots, begun, ended = self.streams.follow(batch.partitions, keys, lengths > 0, ends)
        new = begun.tolist()
        if self._settings.idle_reset_ms is not None:
            new += self._renew_idle(slots, batch.timestamps, ended)
        if new:
            self._engine.grow(self.streams.capacity)
            self._engine.reset(np.asarray(new, np.int64))
            if self._sound is not None:
                self._sound.carried.grow(self.streams.capacity)
                self._sound.carried.reset(np.asarray(new, np.int64))
        return slots, ended

    def _renew_idle(self, slots: np.ndarray, timestamps: np.ndarray, ended: list[int]) -> list[int]:
        """Move each record that comes after too long a silence, and those behind it, to a fresh slot of its stream."""
        used = np.flatnonzero(slots >= 0)
        order = used[np.argsort(slots[used], kind="stable")]
        fresh: list[int] = []
        over = set(ended)  # by a tombstone further on in this batch: so is what they are renewed as
        slot, newest, moved_to = -1, -1, -1
        for index in order.tolist():
            if slots[index] != slot:
                slot = moved_to = int(slots[index])
                newest = int(self.streams.timestamps[slot])
            stamp = int(timestamps[index])
            if newest >= 0 and stamp - newest > (self._settings.idle_reset_ms or 0):
                before, moved_to = moved_to, self.streams.renew(moved_to)
                ended.append(moved_to if slot in over else before)
                fresh.append(moved_to)
            newest = max(newest, stamp)
            slots[index] = moved_to
        return fresh

    def _run(
        self, rows: np.ndarray, slots: np.ndarray, starts: np.ndarray, lengths: np.ndarray, errors: dict[int, str]
    ) -> list[np.ndarray]:
        """Step every stream through its rows; a record whose row the model cannot take joins ``errors``."""
        stepping = Stepping(self._stepper, rows)
        used = np.flatnonzero(lengths)
        threads = 1 if self._others is None else self._settings.threads
        shares = plans(slots[used], starts[used], lengths[used], self._limits, threads)
        others = [] if self._others is None else [self._others.submit(stepping.step, share) for share in shares[1:]]
        try:
            stepping.step(shares[0])
        finally:
            if others:
                wait(others)  # nobody may be at the states when this returns
        for other in others:
            other.result()
        for row, reason in stepping.bad_rows.items():
            record = int(used[np.searchsorted(starts[used], row, side="right") - 1])
            errors.setdefault(
                record, f"row {row - int(starts[record])}: {reason}; the stream keeps its last good state"
            )
        return stepping.outputs
