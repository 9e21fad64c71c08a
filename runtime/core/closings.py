"""Streams that were evicted: what of their input is over, for as long as a replay may come across it.

An eviction is not in the input, so a replay cannot repeat it. It is written down instead: a *closing*
says up to which offset a stream's records are over. Once no replay begins that early, it is void.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from itertools import repeat

import numpy as np

Key = bytes


class Closings:
    """The closings of each partition: *new* until a commit has taken them, then *stored* until void.

    What is taken for a commit must commit, or all of its partition be dropped.
    """

    def __init__(self) -> None:
        self._new: dict[int, dict[Key, int]] = {}
        self._needed: dict[int, int] = {}
        self._stored: dict[int, dict[Key, int]] = {}
        self._order: dict[int, list[tuple[int, Key]]] = {}

    def __bool__(self) -> bool:
        return any(self._new.values()) or any(self._stored.values())

    @property
    def idle(self) -> bool:
        """Whether `take` has nothing to give or to forget, for any partition."""
        return not self._needed and not self

    def add(self, partition: int, key: Key, offset: int, unsaved: int | None) -> None:
        """A stream was evicted whose last record is at ``offset``; ``unsaved``: the first without a snapshot."""
        self._new.setdefault(partition, {})[key] = offset
        if unsaved is not None:
            self._needed[partition] = min(unsaved, self._needed.get(partition, unsaved))

    def restore(self, partition: int, keys: Iterable[Key], offsets: Iterable[int]) -> None:
        """These closings are stored."""
        stored, order = self._stored.setdefault(partition, {}), self._order.setdefault(partition, [])
        for key, offset in zip(keys, offsets, strict=True):
            stored[key] = offset
            heapq.heappush(order, (offset, key))

    def keys(self, partition: int) -> list[Key]:
        """The streams that a partition has closings of in store."""
        return list(self._stored.get(partition, ()))

    def until(self, partition: int, keys: Sequence[Key]) -> np.ndarray | None:
        """Up to which offset the records of each key are over: int64[n], -1 where none; ``None``: none at all."""
        stored = self._stored.get(partition)
        return np.fromiter(map(stored.get, keys, repeat(-1)), np.int64, len(keys)) if stored else None

    def newest(self, partition: int) -> tuple[Key, int] | None:
        """The stored closing with the highest offset."""
        stored = self._stored.get(partition)
        return max(stored.items(), key=lambda each: each[1]) if stored else None

    def needed(self, partition: int, position: int) -> int:
        """The lowest offset that streams would need if their new closings were lost; else ``position``."""
        return min(position, self._needed.get(partition, position))

    def cancel(self, partition: int, keys: Iterable[Key]) -> None:
        """What is written of these keys takes the place of their closings: a snapshot, or nothing (an end)."""
        new, stored = self._new.get(partition), self._stored.get(partition)
        if new or stored:
            for key in keys:
                if new:
                    new.pop(key, None)
                if stored:
                    stored.pop(key, None)

    def take(self, partition: int, replay_from: int, most: int) -> tuple[dict[Key, int], list[Key]]:
        """For a commit after which a replay begins at ``replay_from``: closings to write, and keys whose are void.

        The new ones are all taken; of the stored ones, ``most`` at most.
        """
        stored, order = self._stored.setdefault(partition, {}), self._order.setdefault(partition, [])
        closed: dict[Key, int] = {}
        void: list[Key] = []
        self._needed.pop(partition, None)
        for key, offset in self._new.pop(partition, {}).items():
            if offset >= replay_from:
                closed[key] = stored[key] = offset
                heapq.heappush(order, (offset, key))
            else:
                stored.pop(key, None)
                void.append(key)
        while order and order[0][0] < replay_from and len(void) < most:
            offset, key = heapq.heappop(order)
            if stored.get(key) == offset:
                del stored[key]
                void.append(key)
        return closed, void

    def drop(self, partition: int) -> None:
        """Forget a partition's."""
        self._new.pop(partition, None)
        self._needed.pop(partition, None)
        self._stored.pop(partition, None)
        self._order.pop(partition, None)
