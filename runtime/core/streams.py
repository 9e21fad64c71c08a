"""Which stream sits in which slot, and what is known of it beside its state."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import repeat
from typing import Any

import numpy as np

from runtime.core.closings import Closings
from runtime.core.dirty import Change, DirtyQueue

Key = bytes

CLEAN = -1
"""In ``unsaved``: nothing was applied since the last snapshot."""

SLACK = 100
"""An eviction makes room for one stream in so many more than it has to, so that it pays to look for the oldest."""

_RESTORED = -(2**62)
_COLUMNS: dict[str, tuple[int, type[np.signedinteger[Any]]]] = {
    "offsets": (-1, np.int64),
    "timestamps": (-1, np.int64),
    "unsaved": (CLEAN, np.int64),
    "_partitions": (-1, np.int32),
}
_RECENCY: dict[str, tuple[int, type[np.signedinteger[Any]]]] = {"_recency": (_RESTORED, np.int64)}


class StreamTable:
    """Gives each (partition, key) a slot, and keeps per slot what was applied and what is not yet saved.

    A slot stays with its stream until the stream ends. Indexed by slot, all int64[capacity]:
    ``offsets``, the last one applied; ``timestamps``, the newest record time in milliseconds since
    1970; ``unsaved``, the first offset applied since the last snapshot, or `CLEAN`. ``closings``
    tells what is over of streams that were evicted.
    """

    offsets: np.ndarray
    timestamps: np.ndarray
    unsaved: np.ndarray
    _partitions: np.ndarray
    _recency: np.ndarray

    def __init__(self, capacity: int = 1024, *, evicts: bool = True) -> None:
        """``evicts``: it is noted who was touched when, as `evict` has to know."""
        self._evicts = evicts
        self._columns = _COLUMNS | _RECENCY if evicts else _COLUMNS
        for name, (empty, dtype) in self._columns.items():
            setattr(self, name, np.full(capacity, empty, dtype))
        self.closings = Closings()
        self._touched = 0
        self._batch_began = 0
        self._keys: list[Key] = [b""] * capacity
        self._slots: dict[int, dict[Key, int]] = {}
        self._free = list(range(capacity - 1, -1, -1))
        self._ended: set[tuple[int, Key]] = set()
        self._dirty: dict[int, DirtyQueue] = {}

    @property
    def capacity(self) -> int:
        """Slots there are; grows by doubling."""
        return len(self._keys)

    def __len__(self) -> int:
        return self.capacity - len(self._free)

    def live(self, partition: int) -> int:
        """How many streams a partition has."""
        return len(self._slots.get(partition, {}))

    def find(self, partition: int, key: Key) -> int | None:
        """The slot of a stream, or ``None`` when it has none."""
        return self._slots.get(partition, {}).get(key)

    def key_of(self, slot: int) -> Key:
        """The key of the stream in a slot."""
        return self._keys[slot]

    def take(self, partition: int, keys: Sequence[Key]) -> tuple[list[int], list[int]]:
        """The slot of each key of a partition, and those slots that are new: their state must be reset."""
        slots = self._slots.setdefault(partition, {})
        found = list(map(slots.get, keys))
        if None not in found:
            return found, []  # type: ignore[return-value]
        missing = list(dict.fromkeys(key for key, slot in zip(keys, found, strict=True) if slot is None))
        new = self._claim(partition, missing)
        slots.update(zip(missing, new, strict=True))
        return list(map(slots.__getitem__, keys)), new

    def seen(self, partition: int, keys: Sequence[Key]) -> np.ndarray:
        """Up to which offset each key's records need not be applied again: int64[n], -1 where none was."""
        slots = np.fromiter(map(self._slots.get(partition, {}).get, keys, repeat(-1)), np.int64, len(keys))
        offsets = np.where(slots < 0, -1, self.offsets[slots])
        closed = self.closings.until(partition, keys)
        return offsets if closed is None else np.maximum(offsets, closed)

    def restore(self, partition: int, keys: Sequence[Key], offsets: np.ndarray, timestamps: np.ndarray) -> np.ndarray:
        """Bring streams back that are as their snapshots say: their slots, int64[n]. A key comes once.

        For evictions they count as touched before all others, in the order of ``timestamps``.
        """
        slots = np.asarray(self.take(partition, keys)[0], np.int64)
        self.offsets[slots] = offsets
        self.timestamps[slots] = timestamps
        if self._evicts:
            self._recency[slots] = np.minimum(timestamps, 2**61) + _RESTORED
        return slots

    def forget(self, partition: int, keys: Iterable[Key]) -> None:
        """These streams were not to be restored after all."""
        slots = self._slots.get(partition, {})
        self.release([slots.pop(key) for key in keys if key in slots])

    def slots_of(self, partition: int) -> np.ndarray:
        """The slots of a partition's streams, int64[n]."""
        slots = self._slots.get(partition, {})
        return np.fromiter(slots.values(), np.int64, len(slots))

    def renew(self, slot: int) -> int:
        """Begin the stream of a slot anew in another slot, which is returned; the old one must be released later.

        Where the stream has ended since, the other must be released as well.
        """
        partition, key = int(self._partitions[slot]), self._keys[slot]
        fresh = self._claim(partition, [key])[0]
        if self._slots[partition].get(key) == slot:
            self._slots[partition][key] = fresh
        return fresh

    def end(self, partition: int, key: Key) -> int | None:
        """End a stream: it gets no more records in its slot, which is returned and must be released later."""
        self._ended.add((partition, key))
        self.closings.cancel(partition, [key])
        return self._slots.get(partition, {}).pop(key, None)

    def evict(self, most: int, partitions: Collection[int]) -> int:
        """Close the streams of these partitions that were touched least recently, until ``most`` are left in all.

        Some more go, to make room, but none that the last `touch` touched unless it alone touched
        more: while other partitions are brought back there may be more than ``most``. Returns how
        many went. Each begins anew with its next record.
        """
        excess = len(self) - most
        if excess <= 0:
            return 0
        slots = np.flatnonzero(np.isin(self._partitions, list(partitions)))
        recency = self._recency[slots]
        before = int(np.count_nonzero(recency < self._batch_began))
        spare = max(0, slots.size - before - most)  # of the last touch, where that alone is too much
        n = max(min(excess + most // SLACK, before), min(excess, before + spare))
        if not n:
            return 0
        gone = slots[np.argpartition(recency, n - 1)[:n]] if n < slots.size else slots
        for slot, partition, offset, unsaved in zip(
            gone.tolist(),
            self._partitions[gone].tolist(),
            self.offsets[gone].tolist(),
            self.unsaved[gone].tolist(),
            strict=True,
        ):
            key = self._keys[slot]
            del self._slots[partition][key]
            self.closings.add(partition, key, offset, None if unsaved == CLEAN else unsaved)
        self.release(gone.tolist())
        return n

    def release(self, slots: Iterable[int]) -> None:
        """Give slots of ended streams back."""
        gone = list(slots)
        if not gone:
            return
        for name, (empty, _) in self._columns.items():
            getattr(self, name)[gone] = empty
        for slot in gone:
            self._keys[slot] = b""
        self._free += gone

    def drop(self, partitions: Iterable[int]) -> None:
        """Forget every stream of these partitions, as if never seen."""
        for partition in partitions:
            self.release(self._slots.pop(partition, {}).values())
            self._dirty.pop(partition, None)
            self.closings.drop(partition)
            self._ended = {stream for stream in self._ended if stream[0] != partition}

    def touch(self, slots: np.ndarray, offsets: np.ndarray, timestamps: np.ndarray, now_s: float) -> None:
        """Note the records applied, in order: a later one of the same slot wins, a timestamp never goes back."""
        clean = np.flatnonzero(self.unsaved[slots] == CLEAN)
        if clean.size:
            _, first = np.unique(slots[clean], return_index=True)
            firsts = clean[np.sort(first)]
            changed, since = slots[firsts], offsets[firsts].astype(np.int64)
            self.unsaved[changed] = since
            owners = self._partitions[changed]
            for partition in np.unique(owners).tolist():
                mine = owners == partition
                self._queue(partition).add(changed[mine].astype(np.int32), since[mine], now_s)
        self._batch_began, self._touched = self._touched, self._touched + slots.size
        if self._evicts:
            self._recency[slots] = np.arange(self._batch_began, self._touched)
        self.offsets[slots] = offsets
        np.maximum.at(self.timestamps, slots, timestamps)

    def dirty(self, partition: int) -> int:
        """About how many streams of a partition changed since their last snapshot (never fewer than there are)."""
        return len(self._dirty.get(partition, ()))

    def due(self, partition: int, least: int, most: int, before_s: float) -> list[int]:
        """Slots of a partition to snapshot in this commit; see `DirtyQueue.take`."""
        queue = self._dirty.get(partition)
        return queue.take(least, most, before_s) if queue else []

    def oldest_change(self, partition: int) -> Change | None:
        """The change of this partition that has waited longest for a snapshot."""
        queue = self._dirty.get(partition)
        return queue.oldest() if queue else None

    def replay_from(self, partition: int, position: int) -> int:
        """The lowest offset that a stream of this partition still needs, ``position`` if none needs any."""
        oldest = self.oldest_change(partition)
        return position if oldest is None else min(oldest.offset, position)

    def saved(self, slots: np.ndarray) -> None:
        """These slots' snapshots are about to commit; if that fails, all their partitions must be dropped."""
        self.unsaved[slots] = CLEAN
        if self.closings:
            for slot, partition in zip(slots.tolist(), self._partitions[slots].tolist(), strict=True):
                self.closings.cancel(partition, [self._keys[slot]])

    def any_ended(self, partition: int) -> bool:
        """Whether `take_ended` would name a stream of this partition."""
        return any(each == partition for each, _ in self._ended)

    def take_ended(self) -> list[tuple[int, Key]]:
        """Streams that ended since the last call, also those that have begun anew: what was saved of them is void.

        That is about to commit; if it fails, all their partitions must be dropped.
        """
        ended = sorted(self._ended)
        self._ended.clear()
        return ended

    def _queue(self, partition: int) -> DirtyQueue:
        if partition not in self._dirty:

            def holds(slots: np.ndarray, offsets: np.ndarray) -> np.ndarray:
                return np.asarray((self.unsaved[slots] == offsets) & (self._partitions[slots] == partition))

            self._dirty[partition] = DirtyQueue(holds)
        return self._dirty[partition]

    def _claim(self, partition: int, keys: Sequence[Key]) -> list[int]:
        n = len(keys)
        while len(self._free) < n:
            self._grow()
        slots = self._free[: -n - 1 : -1]
        del self._free[-n:]
        self._partitions[slots] = partition
        for slot, key in zip(slots, keys, strict=True):
            self._keys[slot] = key
        return slots

    def _grow(self) -> None:
        old = self.capacity
        self._free[:0] = range(2 * old - 1, old - 1, -1)
        self._keys.extend([b""] * old)
        for name, (empty, dtype) in self._columns.items():
            setattr(self, name, np.concatenate([getattr(self, name), np.full(old, empty, dtype)]))
