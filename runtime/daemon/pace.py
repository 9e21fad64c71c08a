"""How many records a poll takes under load.

The larger a batch, the less each record costs: more streams share a call, and a stream's own records
are stepped together. But a batch is also what a commit, a revoke or a stop waits for, so it is as
large as the model gets through in a given time, by what the batches before took.
"""

from __future__ import annotations

FIRST = 4096
"""Records of a poll while nothing is known yet."""

WEIGHT = 0.5
"""Of the latest batch in the running mean of a record's time."""


class Pace:
    """``size`` is between ``least`` and ``most`` records: what takes about ``batch_s`` seconds."""

    def __init__(self, least: int, most: int, batch_s: float) -> None:
        self._least, self._most, self._batch_s = min(least, most), most, batch_s
        self._record_s: float | None = None

    @property
    def size(self) -> int:
        """Most records of the next poll."""
        if self._record_s is None:
            return max(self._least, min(FIRST, self._most))
        return max(self._least, min(self._most, int(self._batch_s / self._record_s)))

    def took(self, records: int, seconds: float) -> None:
        """A batch went through the model. One smaller than the least says little of a large one, and is passed over."""
        if records < self._least:
            return
        record_s = max(seconds, 1e-9) / records
        self._record_s = record_s if self._record_s is None else self._record_s + WEIGHT * (record_s - self._record_s)
