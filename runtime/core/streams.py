"""Which stream sits in which slot, and what is known of it beside its state."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

Key = bytes


class StreamTable:
    """Gives each (partition, key) a slot, and keeps per slot the last offset and timestamp applied.

    A slot stays with its stream until the stream ends. ``offsets`` and ``timestamps`` (int64[capacity],
    milliseconds since 1970) and ``dirty`` (bool[capacity], changed since the last commit) are indexed by slot.
    """

    def __init__(self, capacity: int = 1024) -> None:
        self.offsets = np.full(capacity, -1, np.int64)
        self.timestamps = np.full(capacity, -1, np.int64)
        self.dirty = np.zeros(capacity, bool)
        self._partitions = np.full(capacity, -1, np.int32)
        self._keys: list[Key] = [b""] * capacity
        self._slots: dict[int, dict[Key, int]] = {}
        self._free = list(range(capacity - 1, -1, -1))
        self._ended: set[tuple[int, Key]] = set()

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

    def end(self, partition: int, key: Key) -> int | None:
        """End a stream: it gets no more records in its slot, which is returned and must be released later."""
        self._ended.add((partition, key))
        return self._slots.get(partition, {}).pop(key, None)

    def release(self, slots: Iterable[int]) -> None:
        """Give slots of ended streams back."""
        for slot in slots:
            self.dirty[slot] = False
            self.offsets[slot] = -1
            self.timestamps[slot] = -1
            self._partitions[slot] = -1
            self._keys[slot] = b""
            self._free.append(slot)

    def drop(self, partitions: Iterable[int]) -> None:
        """Forget every stream of these partitions, as if never seen."""
        for partition in partitions:
            self.release(self._slots.pop(partition, {}).values())
            self._ended = {stream for stream in self._ended if stream[0] != partition}

    def touch(self, slots: np.ndarray, offsets: np.ndarray, timestamps: np.ndarray) -> None:
        """Note the records applied, in order: a later one of the same slot wins, a timestamp never goes back."""
        self.offsets[slots] = offsets
        np.maximum.at(self.timestamps, slots, timestamps)
        self.dirty[slots] = True

    def changed(self) -> tuple[np.ndarray, np.ndarray, list[Key]]:
        """Slots, partitions and keys of the streams changed since `settle`: int64[n], int32[n], n keys."""
        slots = np.flatnonzero(self.dirty)
        return slots, self._partitions[slots], [self._keys[slot] for slot in slots.tolist()]

    def ended(self) -> list[tuple[int, Key]]:
        """Streams that ended since `settle` and have not begun anew."""
        return [(p, key) for p, key in self._ended if self.find(p, key) is None]

    def settle(self) -> None:
        """All changes are committed: nothing is dirty, nothing newly ended."""
        self.dirty[:] = False
        self._ended.clear()

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
        self.dirty = np.concatenate([self.dirty, np.zeros(old, bool)])
        self._partitions = np.concatenate([self._partitions, np.full(old, -1, np.int32)])
