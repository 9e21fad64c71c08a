"""Which streams changed since their last snapshot, the oldest change first."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Change:
    """A stream's first change since its last snapshot: its slot, that record's offset, and when (seconds)."""

    slot: int
    offset: int
    since_s: float


class DirtyQueue:
    """The changed streams of one partition, in the order in which they changed.

    Records are applied in offset order, so the first stream in the queue is both the one that has
    waited longest and the one that needs the lowest offset to be replayed. A stream stands here at
    most once while it is dirty; entries that no longer hold are skipped when they come up.
    """

    def __init__(self, holds: Callable[[Change], bool]) -> None:
        """``holds`` says whether a change is still without a snapshot."""
        self._holds = holds
        self._changes: deque[Change] = deque()

    def __len__(self) -> int:
        return len(self._changes)

    def add(self, change: Change) -> None:
        """A clean stream changed."""
        self._changes.append(change)

    def oldest(self) -> Change | None:
        """The stream that has been dirty longest."""
        while self._changes:
            if self._holds(self._changes[0]):
                return self._changes[0]
            self._changes.popleft()
        return None

    def take(self, least: int, most: int, before_s: float) -> list[int]:
        """Slots to snapshot: ``least`` of them, and all dirty since ``before_s`` or earlier, but at most ``most``.

        They leave the queue: they must be snapshotted, or all of the partition dropped.
        """
        taken: list[int] = []
        while len(taken) < most:
            change = self.oldest()
            if change is None or (len(taken) >= least and change.since_s > before_s):
                break
            self._changes.popleft()
            taken.append(change.slot)
        return taken
