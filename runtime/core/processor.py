"""Records in, records out: decode, find the streams, step them, encode. The same for daemon and replay."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import Executor, wait
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

import numpy as np

from edge_rnn.contract.errors import EngineError
from runtime.codecs.protocol import Decoded, Decoder, Encoder, refuse_non_integers
from runtime.core.batch import BY_KEY, Headers, Outgoing, RecordBatch
from runtime.core.column import Cells, lengths_of, nulls, pick
from runtime.core.scheduler import Call, Limits, plans
from runtime.core.sound import Sound
from runtime.core.streams import StreamTable
from runtime.engines.protocol import Engine

HeaderMode = Literal["none", "model", "origin", "trace"]
NullKey = Literal["dead-letter", "partition"]

TRACE_HEADERS = ("traceparent", "tracestate")
"""W3C Trace Context headers, passed on from the input record under ``--headers trace``."""


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
    """Applies batches to the states of their streams. Pure but for the states it holds: no clock, no I/O.

    ``same_partitions``: an output goes to its input's partition; otherwise the transport chooses by key.
    """

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
        self.same_partitions = True
        self._engine = engine
        self._decoder = decoder
        self._encoder = encoder
        self._settings = settings
        limits = settings.limits
        self._limits = limits if engine.manifest.has_time else Limits(chunk=1, steps=limits.steps)
        self._others = others
        self._sound = sound
        columns = [spec.dtype for spec in engine.manifest.inputs for _ in range(spec.width)]
        self._integers = {i: dtype for i, dtype in enumerate(columns) if np.dtype(dtype).kind in "iu"}
        self._splits = np.cumsum([spec.width for spec in engine.manifest.inputs])[:-1]

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
        limit = self._settings.max_output_bytes
        if limit is not None and _longest(values) + _longest(batch.keys) > limit:
            chosen, values = self._without_oversized(batch, chosen, values, limit, errors)
        return Processed(
            outputs=self._outgoing(batch, chosen, values),
            dead_letters=self._dead_letters(batch, errors),
            errors=[errors[index] for index in sorted(errors)],
            steps=int(lengths.sum()),
        )

    def replay(self, batch: RecordBatch, now_s: float = 0.0) -> int:
        """Apply again what was committed before, each stream from its snapshot on, and emit nothing.

        A record that its stream's snapshot already holds, or that was over before an eviction, is
        passed over. Returns how many records were applied. Raises `EngineError`.
        """
        keys = self._stream_keys(batch, {})
        new = np.empty(len(batch), bool)
        for begin, stop in pairwise(_bounds(batch.partitions)):
            new[begin:stop] = (
                self.streams.seen(int(batch.partitions[begin]), keys[begin:stop]) < batch.offsets[begin:stop]
            )
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

    def _stream_keys(self, batch: RecordBatch, errors: dict[int, str]) -> list[bytes]:
        if None not in batch.keys:
            return batch.keys  # type: ignore[return-value]
        if self._settings.null_key == "dead-letter":
            for index, key in enumerate(batch.keys):
                if key is None:
                    errors[index] = "the record has no key, so no stream; see --null-key partition"
        return [key if key is not None else b"" for key in batch.keys]

    def _slots(
        self, batch: RecordBatch, keys: list[bytes], tombstones: Sequence[int], lengths: np.ndarray
    ) -> tuple[np.ndarray, list[int]]:
        """The slot of each record (-1: none), and the slots of streams that end inside this batch.

        A record after its stream's end begins a new stream in another slot.
        """
        slots = np.full(len(batch), -1, np.int64)
        new: list[int] = []
        ended: list[int] = []
        partitions = batch.partitions
        bounds = _bounds(partitions)
        stops = sorted({*bounds, *tombstones, *(index + 1 for index in tombstones)})
        ends = set(tombstones)
        all_live = bool(lengths.all())
        for begin, stop in pairwise(stops):
            partition = int(partitions[begin])
            if begin in ends:
                slot = self.streams.end(partition, keys[begin])
                if slot is not None:
                    ended.append(slot)
                continue
            if all_live:
                taken, fresh = self.streams.take(partition, keys[begin:stop])
                slots[begin:stop] = taken
            else:
                live = (np.flatnonzero(lengths[begin:stop]) + begin).tolist()
                taken, fresh = self.streams.take(partition, [keys[index] for index in live])
                slots[live] = taken
            new += fresh
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
        outputs = [np.empty((rows.shape[0], *spec.row_shape), spec.dtype) for spec in self._engine.manifest.outputs]
        used = np.flatnonzero(lengths)
        bad_rows: dict[int, str] = {}

        def step(calls: Iterator[Call]) -> None:
            for call in calls:
                self._call(call, rows, outputs, bad_rows)

        threads = 1 if self._others is None else self._settings.threads
        shares = plans(slots[used], starts[used], lengths[used], self._limits, threads)
        others = [] if self._others is None else [self._others.submit(step, share) for share in shares[1:]]
        try:
            step(shares[0])
        finally:
            wait(others)  # nobody may be at the states when this returns
        for other in others:
            other.result()
        for row, reason in bad_rows.items():
            record = int(used[np.searchsorted(starts[used], row, side="right") - 1])
            errors.setdefault(
                record, f"row {row - int(starts[record])}: {reason}; the stream keeps its last good state"
            )
        return outputs

    def _call(self, call: Call, rows: np.ndarray, outputs: list[np.ndarray], bad_rows: dict[int, str]) -> None:
        """One model call. What fails in it is run again alone, step by step, until the bad row stands out."""
        x = rows[call.rows]
        pieces = np.split(x, self._splits, axis=2) if self._splits.size else [x]
        specs = self._engine.manifest.inputs
        inputs = [
            piece.reshape(*piece.shape[:2], *spec.row_shape).astype(spec.dtype, copy=False)
            for piece, spec in zip(pieces, specs, strict=True)
        ]
        try:
            results, good = self._engine.run(call.slots, inputs)
        except EngineError as error:
            if not self._engine.works():
                raise
            self._isolate(call, rows, outputs, bad_rows, str(error))
            return
        if good.all():
            for output, result in zip(outputs, results, strict=True):
                output[call.rows] = result
            return
        fine, bad = np.flatnonzero(good), np.flatnonzero(~good)
        for output, result in zip(outputs, results, strict=True):
            output[call.rows[:, fine]] = result[:, fine]
        if len(call.rows) == 1:
            bad_rows.update(dict.fromkeys(call.rows[0, bad].tolist(), "the model's result is not finite"))
            return
        for step in call.rows:
            self._call(Call(call.slots[bad], step[None, bad]), rows, outputs, bad_rows)

    def _isolate(
        self, call: Call, rows: np.ndarray, outputs: list[np.ndarray], bad_rows: dict[int, str], reason: str
    ) -> None:
        """A call failed though the model works: halve it, by streams and then by steps, down to the rows at fault."""
        steps, streams = call.rows.shape
        if streams > 1:
            for half in np.array_split(np.arange(streams), 2):
                self._call(Call(call.slots[half], call.rows[:, half]), rows, outputs, bad_rows)
        elif steps > 1:
            for step in call.rows:
                self._call(Call(call.slots, step[None]), rows, outputs, bad_rows)
        else:
            bad_rows[int(call.rows[0, 0])] = reason

    @staticmethod
    def _without_oversized(
        batch: RecordBatch, chosen: np.ndarray, values: Cells, limit: int, errors: dict[int, str]
    ) -> tuple[np.ndarray, Cells]:
        """The outputs that a broker takes; the records of the others join ``errors``."""
        sizes = lengths_of(values) + np.maximum(lengths_of([batch.keys[index] for index in chosen.tolist()]), 0)
        for place in np.flatnonzero(sizes > limit).tolist():
            errors[int(chosen[place])] = (
                f"its output has {sizes[place]} bytes, the limit is {limit}; send fewer rows a record,"
                " use --output-codec f32, or raise the client's and the broker's limits"
            )
        keep = np.flatnonzero(sizes <= limit)
        return chosen[keep], pick(values, keep)

    def _outgoing(self, batch: RecordBatch, chosen: np.ndarray, values: Cells) -> Outgoing:
        whole = chosen.size == len(batch)
        partitions = batch.partitions if whole else batch.partitions[chosen]
        return Outgoing(
            partitions=partitions if self.same_partitions else np.full(chosen.size, BY_KEY, np.int32),
            timestamps=batch.timestamps if whole else batch.timestamps[chosen],
            keys=batch.keys if whole else [batch.keys[index] for index in chosen.tolist()],
            values=values,
            headers=self._headers(batch, chosen),
        )

    def _headers(self, batch: RecordBatch, chosen: np.ndarray) -> list[Headers] | None:
        mode = self._settings.headers
        if mode == "none":
            return None
        model = ("edge-rnn-model", self._settings.model.encode())
        if mode == "model":
            return [[model]] * chosen.size
        found: list[Headers] = []
        for index in chosen.tolist():
            headers = [*self._origin(batch, index), model]
            if mode == "trace" and batch.headers is not None:
                headers += [header for header in batch.headers[index] if header[0] in TRACE_HEADERS]
            found.append(headers)
        return found

    def _origin(self, batch: RecordBatch, index: int) -> list[tuple[str, bytes]]:
        return [
            ("edge-rnn-topic", self._settings.topic.encode()),
            ("edge-rnn-partition", str(batch.partitions[index]).encode()),
            ("edge-rnn-offset", str(batch.offsets[index]).encode()),
        ]

    def _burial(self, value: bytes | None) -> bytes | None:
        """A dead letter's value, cut where with its headers it would be more than a broker takes."""
        limit = self._settings.max_output_bytes
        return value if limit is None or value is None else value[: max(0, limit - 8192)]

    def _dead_letters(self, batch: RecordBatch, errors: dict[int, str]) -> Outgoing:
        chosen = sorted(errors)
        return Outgoing(
            partitions=np.full(len(chosen), BY_KEY, np.int32),
            timestamps=batch.timestamps[chosen] if chosen else np.empty(0, np.int64),
            keys=[batch.keys[index] for index in chosen],
            values=[self._burial(batch.values[index]) for index in chosen],
            headers=[[("edge-rnn-error", errors[i].encode()[:4096]), *self._origin(batch, i)] for i in chosen],
        )


def _longest(cells: Cells) -> int:
    return int(lengths_of(cells).max(initial=0))


def _bounds(partitions: np.ndarray) -> list[int]:
    """Where runs of one partition begin, and the end."""
    return [0, *(np.flatnonzero(np.diff(partitions)) + 1).tolist(), *([partitions.size] if partitions.size else [])]
