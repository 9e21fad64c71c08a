"""Which streams changed since their last snapshot, the oldest change first."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

Holds = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Of slots and offsets, int64[n] each or one of each: which of these changes are still without a snapshot, bool[n]."""


class Change(NamedTuple):
    """A stream's first change since its last snapshot: its slot, that record's offset, and when (seconds)."""

    slot: int
    offset: int
    since_s: float


@dataclass(slots=True)
class _Block:
    """Changes that were noted together: int32[n] slots, of which there may be many, and int64[n] offsets."""

    slots: np.ndarray
    offsets: np.ndarray
    since_s: float

    def cut(self, begin: int) -> None:
        self.slots, self.offsets = self.slots[begin:], self.offsets[begin:]


class DirtyQueue:
    """The changed streams of one partition, in the order in which they changed.

    Records are applied in offset order, so the first stream in the queue is both the one that has
    waited longest and the one that needs the lowest offset to be replayed. A stream stands here at
    most once while it is dirty; entries that no longer hold are skipped when they come up.
    """

    def __init__(self, holds: Holds) -> None:
        self._holds = holds
        self._blocks: deque[_Block] = deque()
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def add(self, slots: np.ndarray, offsets: np.ndarray, since_s: float) -> None:
        """Clean streams changed, each once, in the order of their offsets."""
        if slots.size:
            self._blocks.append(_Block(slots, offsets, since_s))
            self._size += slots.size

    def oldest(self) -> Change | None:
        """The stream that has been dirty longest."""
        block = self._first()
        return None if block is None else Change(int(block.slots[0]), int(block.offsets[0]), block.since_s)

    def take(self, least: int, most: int, before_s: float) -> list[int]:
        """Slots to snapshot: ``least`` of them, and all dirty since ``before_s`` or earlier, but at most ``most``.

        They leave the queue: they must be snapshotted, or all of the partition dropped.
        """
        taken: list[int] = []
        while (block := self._first()) is not None:
            wanted = (most if block.since_s <= before_s else min(least, most)) - len(taken)
            if wanted <= 0:
                break
            held = np.flatnonzero(self._holds(block.slots, block.offsets))[:wanted]
            taken += block.slots[held].tolist()
            passed = int(held[-1]) + 1
            self._size -= passed
            block.cut(passed)
        return taken

    def _first(self) -> _Block | None:
        """The block whose first change is the oldest that holds; all before it goes."""
        while self._blocks:
            block = self._blocks[0]
            if block.slots.size and self._holds(block.slots[0], block.offsets[0]):
                return block
            held = np.flatnonzero(self._holds(block.slots, block.offsets))
            passed = int(held[0]) if held.size else block.slots.size
            self._size -= passed
            block.cut(passed)
            if not held.size:
                self._blocks.popleft()
        return None
