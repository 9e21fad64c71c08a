"""Which slot a stream's key has: a hash table in arrays, in which a whole batch is looked up at once.

A dict of a million keys is not in the cache, and each look-up waits for four places of memory one after
the other. NumPy asks for the places of a batch together, so that the waits overlap, and makes no object
of a key. An entry is a slot; what is told of a slot stands in one row of 64-bit words::

    hash | partition (high half) and length of the key (low half) | the key, padded with zeros

so that one place in memory says whether it is the stream looked for. Keys longer than `MOST_BYTES` stand
there as a digest, and are kept whole beside.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from runtime.core.column import Cells, as_column

Key = bytes

MOST_BYTES = 64
"""Keys up to this length stand in the table themselves."""

NONE = -1
"""In place of a slot: there is none."""

_GONE = -2
_WORD = 8
_HEAD = 2
_MASKS = np.array([(1 << (8 * length)) - 1 for length in range(_WORD + 1)], np.uint64)
_LEAST = 64
_ALL = (1 << 64) - 1
_SHIFT = np.uint64(29)
_HALF = np.uint64(32)


@dataclass(frozen=True, slots=True)
class Names:
    """Streams as the table tells them apart: ``rows`` uint64[n, 2 + words]; ``whole``: keys too long for it, by place."""

    rows: np.ndarray
    whole: dict[int, Key]

    def __len__(self) -> int:
        return len(self.rows)

    def of(self, places: np.ndarray) -> Names:
        """Those at these places."""
        whole = {new: self.whole[old] for new, old in enumerate(places.tolist()) if old in self.whole}
        return Names(self.rows[places], whole if self.whole else {})


class KeyTable:
    """Gives (partition, key) its slot. Slots are the caller's; a slot is *mapped* while its stream is found.

    ``partitions`` is int32[capacity], by slot.
    """

    partitions: np.ndarray

    def __init__(self, capacity: int) -> None:
        self.partitions = np.full(capacity, NONE, np.int32)
        self._mapped = np.zeros(capacity, bool)
        self._rows = np.zeros((capacity, _HEAD + 1), np.uint64)
        self._whole: dict[int, Key] = {}
        self._live: dict[int, int] = {}
        self._entries = np.full(_LEAST, NONE, np.int32)
        self._filled = 0
        # Drawn anew for each table: nobody can choose keys that fall on one place.
        state = np.random.SeedSequence().generate_state(4, np.uint64)
        self._seed, self._first, self._second, self._third = state | np.uint64(1)
        self._numbers = (state | np.uint64(1)).tolist()

    def __len__(self) -> int:
        """How many are mapped."""
        return sum(self._live.values())

    def live(self, partition: int) -> int:
        """How many of a partition are mapped."""
        return self._live.get(partition, 0)

    def grow(self, capacity: int) -> None:
        """Make room for slots up to ``capacity``."""
        more = capacity - len(self._mapped)
        self.partitions = np.concatenate([self.partitions, np.full(more, NONE, np.int32)])
        self._mapped = np.concatenate([self._mapped, np.zeros(more, bool)])
        self._rows = np.concatenate([self._rows, np.zeros((more, self._rows.shape[1]), np.uint64)])

    def names(self, partitions: np.ndarray | int, keys: Cells) -> Names:
        """What these keys of these partitions (int[n], or one of all) are called; ``None`` is the empty key."""
        column = as_column(keys)
        lengths = np.maximum(column.lengths, 0)
        longest = int(lengths.max(initial=0))
        words = max(1, -(-min(longest, MOST_BYTES) // _WORD))
        rows = np.empty((lengths.size, _HEAD + words), np.uint64)
        data = np.concatenate([column.data, np.zeros(_WORD, np.uint8)])
        anywhere = np.ndarray((data.size - _WORD + 1,), "<u8", data, strides=(1,))  # the eight bytes from each place on
        for word in range(words):
            left = np.clip(lengths - word * _WORD, 0, _WORD)
            places = np.minimum(column.starts + word * _WORD, data.size - _WORD)
            rows[:, _HEAD + word] = anywhere[places] & _MASKS[left]
        whole: dict[int, Key] = {}
        if longest > MOST_BYTES:
            for place in np.flatnonzero(lengths > MOST_BYTES).tolist():
                whole[place] = column[place] or b""
                rows[place, _HEAD:] = np.frombuffer(hashlib.blake2b(whole[place]).digest(), "<u8")
        rows[:, 1] = (np.asarray(partitions, np.uint64) << _HALF) | lengths.astype(np.uint64)
        rows[:, 0] = self._hashes(rows, lengths)
        return Names(rows, whole)

    def _hashes(self, rows: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        found = (rows[:, 1] ^ self._seed) * self._first
        for word in range(rows.shape[1] - _HEAD):
            mixed = ((found ^ (found >> _SHIFT)) ^ rows[:, _HEAD + word]) * self._second
            found = mixed if word == 0 else np.where(lengths > word * _WORD, mixed, found)
        found = (found ^ (found >> _SHIFT)) * self._third
        return np.asarray(found ^ (found >> _HALF))

    def find(self, names: Names) -> np.ndarray:
        """The slot of each, int64[n], `NONE` where it has none."""
        places = self._places(names.rows)
        slots = self._entries.take(places)
        wrong = np.flatnonzero(~self._are(slots, names.rows) & (slots != NONE))
        while wrong.size:
            places[wrong] = following = (places[wrong] + 1) & (self._entries.size - 1)
            slots[wrong] = there = self._entries.take(following)
            wrong = wrong[~self._are(there, names.rows.take(wrong, axis=0)) & (there != NONE)]
        return slots.astype(np.int64)

    def find_one(self, partition: int, key: Key) -> int:
        """The slot of one stream, or `NONE`: the same as `find`, and quicker for a few."""
        length = len(key)
        padded = hashlib.blake2b(key).digest() if length > MOST_BYTES else key or bytes(_WORD)
        words = [int.from_bytes(padded[at : at + _WORD], "little") for at in range(0, len(padded), _WORD)]
        second = partition << 32 | length
        found = ((second ^ self._numbers[0]) * self._numbers[1]) & _ALL
        for word in words:
            found = (((found ^ (found >> 29)) ^ word) * self._numbers[2]) & _ALL
        found = ((found ^ (found >> 29)) * self._numbers[3]) & _ALL
        found ^= found >> 32
        told = [found, second, *words]
        last = self._entries.size - 1
        place = found & last
        while (slot := self._entries.item(place)) != NONE:
            if slot >= 0 and self._rows[slot].tolist()[: len(told)] == told:
                return slot
            place = (place + 1) & last
        return NONE

    def _are(self, slots: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Whether each slot is called so: bool[n]."""
        told = self._rows.take(slots, axis=0, mode="clip")
        right = slots >= 0
        for word in range(min(told.shape[1], rows.shape[1])):  # of the same length are the same beyond
            right &= told[:, word] == rows[:, word]
        return right

    def first_places(self, names: Names) -> tuple[np.ndarray, np.ndarray]:
        """Where each distinct one stands first, ascending, int64[k]; and which of these each is, int64[n]."""
        _, first, which = np.unique(names.rows[:, 0], return_index=True, return_inverse=True)
        if not (names.rows == names.rows[first[which]]).all():  # two of one hash
            _, first, which = np.unique(names.rows, axis=0, return_index=True, return_inverse=True)
        order = np.argsort(first)
        rank = np.empty(order.size, np.int64)
        rank[order] = np.arange(order.size)
        return first[order], rank[which.reshape(-1)]

    def put(self, slots: np.ndarray, names: Names) -> None:
        """Map each to a slot, int64[n]; no slot and none of them is mapped, and each comes once."""
        self.call(slots, names)
        if 2 * (self._filled + slots.size) > self._entries.size:
            self._renew(len(self) + slots.size)
        self._enter(slots)
        self._count(self.partitions[slots], 1)

    def call(self, slots: np.ndarray, names: Names) -> None:
        """Note what slots that are not mapped are called, without mapping them."""
        words = names.rows.shape[1]
        if words > self._rows.shape[1]:
            more = np.zeros((len(self._rows), words - self._rows.shape[1]), np.uint64)
            self._rows = np.concatenate([self._rows, more], axis=1)
        self._rows[slots, :words] = names.rows
        self._rows[slots, words:] = 0
        self.partitions[slots] = (names.rows[:, 1] >> _HALF).astype(np.int32)
        for place, key in names.whole.items():
            self._whole[int(slots[place])] = key

    def _renew(self, most: int) -> None:
        """Make the table anew for up to ``most`` entries, without those that are gone."""
        size = _LEAST
        while size < 2 * most:
            size *= 2
        self._entries = np.full(size, NONE, np.int32)
        self._filled = 0
        self._enter(np.flatnonzero(self._mapped))

    def _enter(self, slots: np.ndarray) -> None:
        self._mapped[slots] = True
        places = self._places(self._rows[slots])
        left = np.arange(slots.size)
        while left.size:
            wanted = places[left]
            there = self._entries[wanted]
            mine = left[there < 0]
            self._entries[places[mine]] = slots[mine]
            won = self._entries[places[mine]] == slots[mine]  # of several at one place, one
            self._filled += int(np.count_nonzero(won & (there[there < 0] == NONE)))
            left = np.concatenate([left[there >= 0], mine[~won]])
            places[left] = (places[left] + 1) & (self._entries.size - 1)

    def remove(self, slots: np.ndarray) -> None:
        """These mapped slots are not found any more; what is told of them stays until `clear`."""
        self._entries[self._entry_of(slots)] = _GONE
        self._mapped[slots] = False
        self._count(self.partitions[slots], -1)

    def move(self, slot: int, fresh: int) -> None:
        """What ``slot`` is called, ``fresh`` is called now; and it is found there, if it was mapped."""
        self._rows[fresh], self.partitions[fresh] = self._rows[slot], self.partitions[slot]
        if slot in self._whole:
            self._whole[fresh] = self._whole[slot]
        if self._mapped[slot]:
            self._entries[self._entry_of(np.array([slot]))] = fresh
            self._mapped[slot], self._mapped[fresh] = False, True

    def clear(self, slots: np.ndarray) -> None:
        """Forget what slots that are not mapped are called."""
        self.partitions[slots] = NONE
        if self._whole:
            for slot in slots.tolist():
                self._whole.pop(slot, None)

    def slots_of(self, partition: int) -> np.ndarray:
        """A partition's mapped slots, ascending, int64[n]."""
        return np.flatnonzero(self._mapped & (self.partitions == partition))

    def keys_of(self, slots: np.ndarray) -> list[Key]:
        """The key of each slot."""
        rows = self._rows[slots]
        lengths = (rows[:, 1] & np.uint64(0xFFFFFFFF)).astype(np.int64).tolist()
        data = np.ascontiguousarray(rows[:, _HEAD:], "<u8").tobytes()
        width = _WORD * (rows.shape[1] - _HEAD)
        keys = [data[at * width : at * width + length] for at, length in enumerate(lengths)]
        if self._whole:
            keys = [self._whole.get(slot, key) for slot, key in zip(slots.tolist(), keys, strict=True)]
        return keys

    def _places(self, rows: np.ndarray) -> np.ndarray:
        return (rows[:, 0] & np.uint64(self._entries.size - 1)).astype(np.int64)

    def _entry_of(self, slots: np.ndarray) -> np.ndarray:
        """Where in the table mapped slots stand."""
        places = self._places(self._rows[slots])
        wrong = np.flatnonzero(self._entries[places] != slots)
        while wrong.size:
            places[wrong] = (places[wrong] + 1) & (self._entries.size - 1)
            wrong = wrong[self._entries[places[wrong]] != slots[wrong]]
        return places

    def _count(self, partitions: np.ndarray, by: int) -> None:
        found, counts = np.unique(partitions, return_counts=True)
        for partition, count in zip(found.tolist(), counts.tolist(), strict=True):
            self._live[partition] = self._live.get(partition, 0) + by * count
