"""Generation over streams of records: a prompt comes in, its tokens go out for as long as the reply goes on.

Beside its states a stream has a dialogue (see `runtime.core.generation`). Every commit saves both of
each stream that a prompt or a token has changed, so that nothing is ever replayed: what was committed
of a reply is in the snapshot, and what was not is said again, the same.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import numpy as np

from edge_rnn.contract.errors import RecordError
from runtime.codecs.prompts import decode_prompt, encode_piece
from runtime.codecs.protocol import Decoded, Decoder, Encoder
from runtime.core.batch import Outgoing, RecordBatch
from runtime.core.generation import Generator, Piece
from runtime.core.philox import stream_number
from runtime.core.processor import Processed, Processor, ProcessorSettings
from runtime.core.streams import StreamTable
from runtime.engines.protocol import Engine

MOST_STREAMS = 256
"""Streams that take a step together."""

MOST_WAITING = 64
"""Prompts that one stream may have in wait; another is a dead letter."""

MOST_CHARACTERS = 65_536
"""Length of a prompt."""

MOST_BYTES = 400_000
"""What the prompts in wait may take in a stream's snapshot, which must fit into a record."""


class _Table(StreamTable):
    """Tells the generator of slots that are given back, and who is in a slot."""

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self._generator = generator

    def release(self, slots: Iterable[int]) -> None:
        gone = list(slots)
        for slot in gone:
            self._generator.forget(slot)
        super().release(gone)

    def owners(self, slots: np.ndarray) -> np.ndarray:
        """The partition of the stream in each slot, int64[n]."""
        return np.asarray(self._partitions[slots])


class GeneratingProcessor(Processor):
    """Takes prompts and tombstones; `advance` gives tokens. Pure but for the states it holds."""

    def __init__(
        self, engine: Engine, generator: Generator, decoder: Decoder, encoder: Encoder, settings: ProcessorSettings
    ) -> None:
        """``generator`` works on ``engine``."""
        super().__init__(engine, decoder, encoder, settings)
        self._generator = generator
        self._table = _Table(generator)
        self.streams = self._table

    @property
    def busy(self) -> bool:
        """Whether a reply is in progress."""
        return bool(self._generator.busy)

    def decode(self, batch: RecordBatch) -> Decoded | None:
        """Nothing: prompts are read as they are queued."""
        return None

    def process(self, batch: RecordBatch, now_s: float = 0.0, decoded: Decoded | None = None) -> Processed:
        """Queue each prompt in its stream; a tombstone ends one, and with it every reply that it owes."""
        errors: dict[int, str] = {}
        taken: list[int] = []
        rows: list[int] = []
        pieces: list[Piece] = []
        ended: list[int] = []
        for index, key in enumerate(self._stream_keys(batch, errors)):
            partition, value = int(batch.partitions[index]), batch.values[index]
            if index in errors:
                continue
            if value is None:
                if (gone := self.streams.end(partition, key)) is not None:
                    pieces += self._generator.end(gone)
                    ended.append(gone)
                continue
            try:
                taken.append(self._submit(partition, key, value, batch, index))
                rows.append(index)
            except RecordError as error:
                errors[index] = str(error)
        outputs = self._token_records(pieces)
        slots = np.asarray(taken, np.int64)
        self.streams.touch(slots, batch.offsets[rows], batch.timestamps[rows], now_s)
        self.streams.release(ended)
        return Processed(
            outputs, self._dead_letters(batch, errors), [errors[index] for index in sorted(errors)], steps=0
        )

    def replay(self, batch: RecordBatch, now_s: float = 0.0) -> int:
        """Nothing: what was committed is in the snapshots of the same commit."""
        return 0

    def advance(self, partitions: Collection[int], now_s: float) -> Processed | None:
        """The next token of streams of these partitions that have a reply in progress; ``None``: of no stream.

        Raises `EngineError`: the states are then undefined and must be dropped.
        """
        busy = np.asarray(self._generator.busy, np.int64)
        slots = busy[np.isin(self._table.owners(busy), list(partitions))][:MOST_STREAMS]
        if not slots.size:
            return None
        pieces = self._generator.advance(slots.tolist())
        self.streams.touch(slots, self.streams.offsets[slots], self.streams.timestamps[slots], now_s)
        nothing = np.empty(0, np.int32)
        return Processed(self._token_records(pieces), Outgoing(nothing, np.empty(0, np.int64), [], []), [], slots.size)

    def read_extras(self, slots: np.ndarray) -> list[bytes] | None:
        """The dialogues of these slots as bytes."""
        return [self._generator.save(slot) for slot in slots.tolist()]

    def restore(
        self,
        partition: int,
        keys: Sequence[bytes],
        rows: np.ndarray,
        offsets: np.ndarray,
        timestamps: np.ndarray,
        extras: Sequence[bytes] | None = None,
    ) -> None:
        """Bring streams of a partition back with their dialogues."""
        super().restore(partition, keys, rows, offsets, timestamps)
        for key, extra in zip(keys, extras or [b""] * len(keys), strict=True):
            slot = self.streams.find(partition, key)
            assert slot is not None
            self._generator.load(slot, extra)

    def _submit(self, partition: int, key: bytes, value: bytes, batch: RecordBatch, index: int) -> int:
        """Queue one prompt; its stream's slot. Raises `RecordError`, then nothing has changed."""
        request = decode_prompt(value)
        if len(request.prompt) > MOST_CHARACTERS:
            raise RecordError(f"the prompt has {len(request.prompt):,} characters, the limit is {MOST_CHARACTERS:,}")
        self._generator.check(request)
        known = self.streams.find(partition, key)
        if known is not None and self._generator.waiting(known) >= MOST_WAITING:
            raise RecordError(f"the stream has {MOST_WAITING} prompts in wait, which is the limit; send it later")
        if known is not None and len(self._generator.save(known)) + len(value) > MOST_BYTES:
            raise RecordError(f"the stream's prompts in wait would take more than {MOST_BYTES:,} bytes; send it later")
        (slot,), new = self.streams.take(partition, [key])
        if new:
            self._engine.grow(self.streams.capacity)
            self._engine.reset(np.asarray(new, np.int64))
        origin = (int(batch.offsets[index]), int(batch.timestamps[index]))
        self._generator.submit(slot, stream_number(partition, key), request, *origin)
        return slot

    def _token_records(self, pieces: Sequence[Piece]) -> Outgoing:
        """A record for each piece, as an output of its prompt's record."""
        slots = np.array([piece.slot for piece in pieces], np.int64)
        origin = RecordBatch(
            partitions=self._table.owners(slots).astype(np.int32),
            offsets=np.array([piece.offset for piece in pieces], np.int64),
            timestamps=np.array([piece.timestamp for piece in pieces], np.int64),
            keys=[self.streams.key_of(piece.slot) for piece in pieces],
            values=[None] * len(pieces),
            positions={},
        )
        return self._outgoing(origin, np.arange(len(pieces)), [encode_piece(piece) for piece in pieces])
