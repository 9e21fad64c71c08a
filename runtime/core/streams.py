"""Which stream sits in which slot, and what is known of it beside its state."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import numpy as np

from runtime.core.closings import Closings
from runtime.core.column import Cells, Column
from runtime.core.dirty import Change, DirtyQueue
from runtime.core.keys import NONE, Key, KeyTable, Names

CLEAN = -1
"""In ``unsaved``: nothing was applied since the last snapshot."""

SLACK = 100
"""An eviction makes room for one stream in so many more than it has to, so that it pays to look for the oldest."""

FEW = 48
"""So many keys are quicker looked up one by one."""

_RESTORED = -(2**62)
_COLUMNS: dict[str, tuple[int, type[np.signedinteger[Any]]]] = {
    "offsets": (-1, np.int64),
    "timestamps": (-1, np.int64),
    "unsaved": (CLEAN, np.int64),
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
        self._keys = KeyTable(capacity)
        self._free = list(range(capacity - 1, -1, -1))
        self._ended: set[tuple[int, Key]] = set()
        self._dirty: dict[int, DirtyQueue] = {}

    @property
    def capacity(self) -> int:
        """Slots there are; grows by doubling."""
        return int(self.offsets.size)

    def __len__(self) -> int:
        return self.capacity - len(self._free)

    def live(self, partition: int) -> int:
        """How many streams a partition has."""
        return self._keys.live(partition)

    def find(self, partition: int, key: Key) -> int | None:
        """The slot of a stream, or ``None`` when it has none."""
        slot = self._keys.find_one(partition, key)
        return None if slot == NONE else slot

    def owners(self, slots: np.ndarray) -> np.ndarray:
        """The partition of the stream in each slot, int32[n]."""
        return np.asarray(self._keys.partitions[slots])

    def keys_of(self, slots: np.ndarray) -> list[Key]:
        """The key of the stream in each slot."""
        return self._keys.keys_of(slots)

    def take(self, partitions: np.ndarray | int, keys: Cells) -> tuple[np.ndarray, np.ndarray]:
        """The slot of each key, int64[n], and those that are new, int64[k]: their state must be reset.

        ``partitions`` is each key's, int[n], or the one of all.
        """
        if len(keys) <= FEW:
            owners = [partitions] * len(keys) if isinstance(partitions, int) else partitions.tolist()
            found = [self._keys.find_one(owner, key or b"") for owner, key in zip(owners, keys, strict=True)]
            if NONE not in found:
                return np.array(found, np.int64), np.empty(0, np.int64)
        names = self._keys.names(partitions, keys)
        slots = self._keys.find(names)
        return slots, self._begin(names, slots)

    def _begin(self, names: Names, slots: np.ndarray) -> np.ndarray:
        """Give those of the streams a slot that have `NONE` in ``slots``; the new slots."""
        missing = np.flatnonzero(slots == NONE)
        if not missing.size:
            return missing
        unknown = names.of(missing)
        first, which = self._keys.first_places(unknown)
        new = self._claim(first.size)
        self._keys.put(new, unknown.of(first))
        slots[missing] = new[which]
        return new

    def follow(
        self, partitions: np.ndarray, keys: Column, live: np.ndarray, ends: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, list[int]]:
        """Take the records of a batch in order: bool[n] ``live`` ones need a slot, those at ``ends`` end their stream.

        Gives the slot of each, int64[n] (`NONE`: not live), those that are new, int64[k], and those of
        streams that end, which must be released later. A record after its stream's end begins a new
        stream in another slot.
        """
        if not ends.size:
            if live.all():
                return *self.take(partitions, keys), []
            chosen = np.flatnonzero(live)
            slots = np.full(live.size, NONE, np.int64)
            slots[chosen], new = self.take(partitions[chosen], keys.pick(chosen))
            return slots, new, []
        names = self._keys.names(partitions, keys)
        before = self._keys.find(names)
        first, which = self._keys.first_places(names)
        over = np.zeros(first.size, bool)
        over[which[ends]] = True
        lasting = np.flatnonzero(live & ~over[which])
        slots = np.full(live.size, NONE, np.int64)
        found = before[lasting]
        new = self._begin(names.of(lasting), found)
        slots[lasting] = found
        ended, begun, now = self._follow_ending(names, before, which, np.flatnonzero(over[which]), live, ends, slots)
        for partition, key in zip(partitions[ends].tolist(), keys.pick(ends), strict=True):
            self._ended.add((partition, key or b""))
            self.closings.cancel(partition, [key or b""])
        changed = np.array([stream for stream, slot in now.items() if slot != before[first[stream]]], np.int64)
        gone = before[first[changed]]
        self._keys.remove(gone[gone != NONE])
        kept = changed[[now[stream] != NONE for stream in changed.tolist()]]
        self._keys.put(np.array([now[stream] for stream in kept.tolist()], np.int64), names.of(first[kept]))
        return slots, np.concatenate([new, begun]), ended

    def _follow_ending(
        self,
        names: Names,
        before: np.ndarray,
        which: np.ndarray,
        places: np.ndarray,
        live: np.ndarray,
        ends: np.ndarray,
        slots: np.ndarray,
    ) -> tuple[list[int], np.ndarray, dict[int, int]]:
        """Those records one by one whose streams end in the batch; fills ``slots``.

        Gives the slots that ended, those that began, which are called but not mapped, and which slot each stream has
        now.
        """
        ending = set(ends.tolist())
        now: dict[int, int] = {}
        ended: list[int] = []
        begun: list[int] = []
        callers: list[int] = []
        for index in places.tolist():
            stream = int(which[index])
            slot = now.setdefault(stream, int(before[index]))
            if index in ending:
                if slot != NONE:
                    ended.append(slot)
                now[stream] = NONE
            elif live[index]:
                if slot == NONE:
                    slot = now[stream] = int(self._claim(1)[0])
                    begun.append(slot)
                    callers.append(index)
                slots[index] = slot
        new = np.array(begun, np.int64)
        self._keys.call(new, names.of(np.array(callers, np.int64)))
        return ended, new, now

    def seen(self, partitions: np.ndarray, keys: Column) -> np.ndarray:
        """Up to which offset each key's records need not be applied again: int64[n], -1 where none was."""
        slots = self._keys.find(self._keys.names(partitions, keys))
        offsets = np.where(slots == NONE, -1, self.offsets[slots])
        if self.closings:
            for partition in np.unique(partitions).tolist():
                mine = np.flatnonzero(partitions == partition)
                closed = self.closings.until(partition, [key or b"" for key in keys.pick(mine)])
                if closed is not None:
                    offsets[mine] = np.maximum(offsets[mine], closed)
        return offsets

    def restore(self, partition: int, keys: Cells, offsets: np.ndarray, timestamps: np.ndarray) -> np.ndarray:
        """Bring streams back that are as their snapshots say: their slots, int64[n]. A key comes once.

        For evictions they count as touched before all others, in the order of ``timestamps``.
        """
        slots, _ = self.take(partition, keys)
        self.offsets[slots] = offsets
        self.timestamps[slots] = timestamps
        if self._evicts:
            self._recency[slots] = np.minimum(timestamps, 2**61) + _RESTORED
        return slots

    def forget(self, partition: int, keys: Cells) -> None:
        """These streams were not to be restored after all."""
        slots = np.unique(self._keys.find(self._keys.names(partition, keys)))
        self._remove(slots[slots != NONE])

    def slots_of(self, partition: int) -> np.ndarray:
        """The slots of a partition's streams, int64[n]."""
        return self._keys.slots_of(partition)

    def renew(self, slot: int) -> int:
        """Begin the stream of a slot anew in another slot, which is returned; the old one must be released later.

        Where the stream has ended since, the other must be released as well.
        """
        fresh = int(self._claim(1)[0])
        self._keys.move(slot, fresh)
        return fresh

    def end(self, partition: int, key: Key) -> int | None:
        """End a stream: it gets no more records in its slot, which is returned and must be released later."""
        self._ended.add((partition, key))
        self.closings.cancel(partition, [key])
        slot = self.find(partition, key)
        if slot is not None:
            self._keys.remove(np.array([slot]))
        return slot

    def evict(self, most: int, partitions: Collection[int]) -> int:
        """Close the streams of these partitions that were touched least recently, until ``most`` are left in all.

        Some more go, to make room, but none that the last `touch` touched unless it alone touched
        more: while other partitions are brought back there may be more than ``most``. Returns how
        many went. Each begins anew with its next record.
        """
        excess = len(self) - most
        if excess <= 0:
            return 0
        slots = np.flatnonzero(np.isin(self._keys.partitions, list(partitions)))
        recency = self._recency[slots]
        before = int(np.count_nonzero(recency < self._batch_began))
        spare = max(0, slots.size - before - most)  # of the last touch, where that alone is too much
        n = max(min(excess + most // SLACK, before), min(excess, before + spare))
        if not n:
            return 0
        gone = slots[np.argpartition(recency, n - 1)[:n]] if n < slots.size else slots
        for key, partition, offset, unsaved in zip(
            self.keys_of(gone),
            self.owners(gone).tolist(),
            self.offsets[gone].tolist(),
            self.unsaved[gone].tolist(),
            strict=True,
        ):
            self.closings.add(partition, key, offset, None if unsaved == CLEAN else unsaved)
        self._remove(gone)
        return n

    def release(self, slots: Iterable[int]) -> None:
        """Give slots of ended streams back."""
        gone = list(slots)
        if not gone:
            return
        for name, (empty, _) in self._columns.items():
            getattr(self, name)[gone] = empty
        self._keys.clear(np.asarray(gone))
        self._free += gone

    def drop(self, partitions: Iterable[int]) -> None:
        """Forget every stream of these partitions, as if never seen."""
        for partition in partitions:
            self._remove(self._keys.slots_of(partition))
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
            owners = self.owners(changed)
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
            for key, partition in zip(self.keys_of(slots), self.owners(slots).tolist(), strict=True):
                self.closings.cancel(partition, [key])

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
                held: np.ndarray = (self.unsaved[slots] == offsets) & (self._keys.partitions[slots] == partition)
                return held

            self._dirty[partition] = DirtyQueue(holds)
        return self._dirty[partition]

    def _claim(self, n: int) -> np.ndarray:
        while len(self._free) < n:
            self._grow()
        slots = self._free[: -n - 1 : -1]
        del self._free[-n:]
        return np.asarray(slots, np.int64)

    def _remove(self, slots: np.ndarray) -> None:
        self._keys.remove(slots)
        self.release(slots.tolist())

    def _grow(self) -> None:
        old = self.capacity
        self._free[:0] = range(2 * old - 1, old - 1, -1)
        self._keys.grow(2 * old)
        for name, (empty, dtype) in self._columns.items():
            setattr(self, name, np.concatenate([getattr(self, name), np.full(old, empty, dtype)]))
