"""Two models' outputs for the same input, record by record: how far they agree. Pure: time is an argument."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import repeat

import numpy as np

from runtime.core.batch import Outgoing, RecordBatch
from runtime.core.column import Cells

ReadRows = Callable[[bytes], np.ndarray]
"""The rows of the first output that a value holds: float64[rows, width]. Raises ``ValueError``."""

Place = tuple[int, bytes | None, int]
"""What tells a pair: partition (-1 where the two topics differ in their number), key, timestamp."""

_Waiting = dict[Place, deque[tuple[bytes | None, float]]]


class Comparison:
    """Pairs our outputs with theirs and keeps count.

    A pair has the same partition, key and timestamp; where several have, they pair in their order.
    ``classes``: the outputs are scores of classes, so the best class of the last row is compared too.
    Numbers are *close* within ``tolerance`` x max(1, largest of theirs).
    """

    def __init__(self, read: ReadRows, *, classes: bool, tolerance: float) -> None:
        self._read = read
        self._classes = classes
        self._tolerance = tolerance
        self._ours: _Waiting = {}
        self._theirs: _Waiting = {}
        self.waiting = 0
        self.compared = self.identical = self.close = self.same_class = self.unreadable = 0
        self.only_ours = self.only_theirs = self.dead_letters = 0
        self.largest = 0.0
        self._sum = 0.0

    def ours(self, records: Outgoing, now_s: float) -> None:
        """We said this."""
        self.waiting += len(records)
        pairs = self._pair(records.partitions, records.keys, records.timestamps, records.values, now_s, ours=True)
        self.waiting -= 2 * pairs

    def theirs(self, batch: RecordBatch, now_s: float, *, same_partitions: bool) -> None:
        """They said this; ``same_partitions``: in the partition that we would have sent it to."""
        self.waiting += len(batch)
        partitions = batch.partitions if same_partitions else np.full(len(batch), -1, np.int32)
        pairs = self._pair(partitions, batch.keys, batch.timestamps, batch.values, now_s, ours=False)
        self.waiting -= 2 * pairs

    def expire(self, before_s: float) -> None:
        """What has waited for its pair since before ``before_s`` has none."""
        for waiting, ours in ((self._ours, True), (self._theirs, False)):
            gone = 0
            for place in [place for place, queue in waiting.items() if queue[0][1] < before_s]:
                queue = waiting[place]
                while queue and queue[0][1] < before_s:
                    queue.popleft()
                    gone += 1
                if not queue:
                    del waiting[place]
            self.waiting -= gone
            if ours:
                self.only_ours += gone
            else:
                self.only_theirs += gone

    def clear(self) -> None:
        """Begin anew with what comes; the counts stay."""
        self._ours.clear()
        self._theirs.clear()
        self.waiting = 0

    def report(self) -> dict[str, float | int | None]:
        """The counts, and the shares of all compared that are identical, close, and of the same class."""
        n = self.compared
        return {
            "compared": n,
            "identical": self.identical / n if n else None,
            "close": self.close / n if n else None,
            "same_class": self.same_class / n if n and self._classes else None,
            "largest_difference": self.largest if n else None,
            "mean_difference": self._sum / n if n else None,
            "tolerance": self._tolerance,
            "unreadable": self.unreadable,
            "only_ours": self.only_ours,
            "only_theirs": self.only_theirs,
            "dead_letters": self.dead_letters,
            "waiting": self.waiting,
        }

    def _pair(
        self,
        partitions: np.ndarray,
        keys: list[bytes | None],
        timestamps: np.ndarray,
        values: Cells,
        now_s: float,
        *,
        ours: bool,
    ) -> int:
        mine, others = (self._ours, self._theirs) if ours else (self._theirs, self._ours)
        pairs = 0
        for place, value, since in zip(
            zip(partitions.tolist(), keys, timestamps.tolist(), strict=True), values, repeat(now_s), strict=False
        ):
            queue = others.get(place)
            if queue is None:
                mine.setdefault(place, deque()).append((value, since))
                continue
            other = queue.popleft()[0]
            if not queue:
                del others[place]
            pairs += 1
            if ours:
                self._compare(value, other)
            else:
                self._compare(other, value)
        return pairs

    def _compare(self, ours: bytes | None, theirs: bytes | None) -> None:
        self.compared += 1
        if ours == theirs:
            self.identical += 1
            self.close += 1
            self.same_class += 1
            return
        try:
            if ours is None or theirs is None:
                raise ValueError("a tombstone has no rows")
            mine, other = self._read(ours), self._read(theirs)
            if mine.shape != other.shape or not mine.size:
                raise ValueError(f"rows {mine.shape} and {other.shape}")
        except ValueError:
            self.unreadable += 1
            return
        difference = float(np.abs(mine - other).max())
        self._sum += difference
        self.largest = max(self.largest, difference)
        self.close += difference <= self._tolerance * max(1.0, float(np.abs(other).max()))
        self.same_class += int(mine[-1].argmax()) == int(other[-1].argmax())
