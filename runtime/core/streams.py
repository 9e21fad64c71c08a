"""Which stream sits in which slot, and what is known of it beside its state."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from runtime.core.dirty import Change, DirtyQueue

Key = bytes

CLEAN = -1
"""In ``unsaved``: nothing was applied since the last snapshot."""


class StreamTable:
    """Gives each (partition, key) a slot, and keeps per slot what was applied and what is not yet saved.

    A slot stays with its stream until the stream ends. Indexed by slot, all int64[capacity]:
    ``offsets``, the last one applied; ``timestamps``, the newest record time in milliseconds since
    1970; ``unsaved``, the first offset applied since the last snapshot, or `CLEAN`.
    """

    def __init__(self, capacity: int = 1024) -> None:
        self.offsets = np.full(capacity, -1, np.int64)
        self.timestamps = np.full(capacity, -1, np.int64)
        self.unsaved = np.full(capacity, CLEAN, np.int64)
        self._partitions = np.full(capacity, -1, np.int32)
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
        new: list[int] = []
        if None in found:
            for index, slot in enumerate(found):
                if slot is None:
                    slot = slots.get(keys[index])
                    if slot is None:
                        slot = self._claim(partition, keys[index])
                        slots[keys[index]] = slot
                        new.append(slot)
                    found[index] = slot
        return found, new  # type: ignore[return-value]

    def renew(self, slot: int) -> int:
        """Begin the stream of a slot anew in another slot, which is returned; the old one must be released later."""
        partition, key = int(self._partitions[slot]), self._keys[slot]
        fresh = self._slots[partition][key] = self._claim(partition, key)
        return fresh

    def end(self, partition: int, key: Key) -> int | None:
        """End a stream: it gets no more records in its slot, which is returned and must be released later."""
        self._ended.add((partition, key))
        return self._slots.get(partition, {}).pop(key, None)

    def release(self, slots: Iterable[int]) -> None:
        """Give slots of ended streams back."""
        for slot in slots:
            self.offsets[slot] = -1
            self.timestamps[slot] = -1
            self.unsaved[slot] = CLEAN
            self._partitions[slot] = -1
            self._keys[slot] = b""
            self._free.append(slot)

    def drop(self, partitions: Iterable[int]) -> None:
        """Forget every stream of these partitions, as if never seen."""
        for partition in partitions:
            self.release(self._slots.pop(partition, {}).values())
            self._dirty.pop(partition, None)
            self._ended = {stream for stream in self._ended if stream[0] != partition}

    def touch(self, slots: np.ndarray, offsets: np.ndarray, timestamps: np.ndarray, now_s: float) -> None:
        """Note the records applied, in order: a later one of the same slot wins, a timestamp never goes back."""
        clean = np.flatnonzero(self.unsaved[slots] == CLEAN)
        if clean.size:
            _, first = np.unique(slots[clean], return_index=True)
            for index in clean[np.sort(first)].tolist():
                slot, offset = int(slots[index]), int(offsets[index])
                self.unsaved[slot] = offset
                self._queue(int(self._partitions[slot])).add(Change(slot, offset, now_s))
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

    def ended(self) -> list[tuple[int, Key]]:
        """Streams that ended since `forget_ended`, also those that have begun anew: what was saved of them is void."""
        return sorted(self._ended)

    def forget_ended(self) -> None:
        """The ends of streams so far are committed."""
        self._ended.clear()

    def _queue(self, partition: int) -> DirtyQueue:
        if partition not in self._dirty:

            def holds(change: Change) -> bool:
                return bool(self.unsaved[change.slot] == change.offset and self._partitions[change.slot] == partition)

            self._dirty[partition] = DirtyQueue(holds)
        return self._dirty[partition]

    def _claim(self, partition: int, key: Key) -> int:
        if not self._free:
            self._grow()
        slot = self._free.pop()
        self._partitions[slot] = partition
        self._keys[slot] = key
        return slot

    def _grow(self) -> None:
        old = self.capacity
        self._free.extend(range(2 * old - 1, old - 1, -1))
        self._keys.extend([b""] * old)
        self.offsets = np.concatenate([self.offsets, np.full(old, -1, np.int64)])
        self.timestamps = np.concatenate([self.timestamps, np.full(old, -1, np.int64)])
        self.unsaved = np.concatenate([self.unsaved, np.full(old, CLEAN, np.int64)])
        self._partitions = np.concatenate([self._partitions, np.full(old, -1, np.int32)])
