"""A partition's part of the state topic, taken bulk by bulk as it is read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edge_rnn.contract.errors import StateError
from edge_rnn.contract.fingerprint import FINGERPRINT_BYTES
from runtime.checkpoint.snapshot import decode_snapshots
from runtime.core.processor import Processor


class Stored:
    """What one model has stored of a partition, in the processor at once; of each key the last record counts.

    Only one bulk is held beside the states themselves. What cannot be read is refused at the end, as
    a later record may have taken its place.
    """

    def __init__(self, processor: Processor, partition: int, fingerprint: bytes, state_bytes: int) -> None:
        self._processor = processor
        self._streams = processor.streams
        self._partition = partition
        self._fingerprint = fingerprint
        self._state_bytes = state_bytes
        self._where = f"partition {partition}"
        self._others: dict[bytes, None] = {}
        self._refused: dict[bytes, StateError] = {}

    def take(self, keys: Sequence[bytes], values: Sequence[bytes]) -> None:
        """The next bulk, in the order written; an empty value deletes."""
        ours: dict[bytes, bytes] = {}
        for key, value in zip(keys, values, strict=True):
            if key[:FINGERPRINT_BYTES] == self._fingerprint:
                ours[key] = value
            elif value:
                self._others[key] = None
            else:
                self._others.pop(key, None)
        if self._refused:
            for key in ours:
                self._refused.pop(key, None)
        self._forget([key[FINGERPRINT_BYTES:] for key, value in ours.items() if not value])
        ours = {key: value for key, value in ours.items() if value}
        try:
            self._restore(ours)
        except StateError:
            for key, value in ours.items():
                try:
                    self._restore({key: value})
                except StateError as error:
                    self._forget([key[FINGERPRINT_BYTES:]])
                    self._refused[key] = error

    def check(self) -> None:
        """Raise the `StateError` of the first record that counts and cannot be read."""
        for error in self._refused.values():
            raise error

    def newest(self) -> tuple[bytes, int] | None:
        """The stream that has seen the highest offset, and that offset; ``None``: nothing is stored."""
        found = [closed] if (closed := self._streams.closings.newest(self._partition)) else []
        slots = self._streams.slots_of(self._partition)
        if slots.size:
            slot = int(slots[np.argmax(self._streams.offsets[slots])])
            found.append((self._streams.key_of(slot), int(self._streams.offsets[slot])))
        return max(found, key=lambda each: each[1], default=None)

    def streams(self) -> tuple[list[bytes], np.ndarray]:
        """The streams that have a state, and the last offset of each: int64[n]."""
        slots = self._streams.slots_of(self._partition)
        return [self._streams.key_of(slot) for slot in slots.tolist()], self._streams.offsets[slots]

    def __bool__(self) -> bool:
        ours = self._streams.live(self._partition) or self._streams.closings.newest(self._partition)
        return bool(ours or self._others or self._refused)

    def give_up(self) -> tuple[bytes, ...]:
        """Forget it all: none of these states may be used. Returns the keys of what is stored, to be deleted."""
        ours = [*self.streams()[0], *self._streams.closings.keys(self._partition)]
        stored = (*(self._fingerprint + key for key in ours), *self._refused, *self._others)
        self._streams.drop([self._partition])
        return stored

    def _restore(self, ours: dict[bytes, bytes]) -> None:
        if not ours:
            return
        snapshots, closed = decode_snapshots(list(ours), list(ours.values()), self._state_bytes, self._where)
        if snapshots.keys:
            self._streams.closings.cancel(self._partition, snapshots.keys)
            self._processor.restore(
                self._partition,
                snapshots.keys,
                snapshots.rows,
                snapshots.offsets,
                snapshots.timestamps,
                snapshots.extras,
            )
        if closed.keys:
            self._streams.forget(self._partition, closed.keys)
            self._streams.closings.restore(self._partition, closed.keys, closed.offsets.tolist())

    def _forget(self, keys: Sequence[bytes]) -> None:
        if keys:
            self._streams.forget(self._partition, keys)
            self._streams.closings.cancel(self._partition, keys)
