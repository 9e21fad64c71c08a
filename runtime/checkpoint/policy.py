"""When which streams are snapshotted, and what to do where state and offsets do not fit. Pure: time is an argument."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Answer = Literal["fail", "reset"]
NewModel = Literal["fail", "reset", "warmup"]
Start = Literal["earliest", "latest"]

PAUSE_S = 2.0
"""A commit with snapshots takes longer. Where all that is due would be little, it waits for so long, if the interval
allows it: few commits pay for it then."""

LITTLE_BYTES = 256 << 10

SNAPSHOT_SHARE = 0.03
"""Without a budget in bytes, the part of the loop's time that snapshots may take. The client's threads and the broker
take about twice as much again for them."""


@dataclass(frozen=True, slots=True)
class SnapshotPolicy:
    """No stream stays dirty longer than ``interval_s`` (0: every commit saves all) while the budget allows it.

    Infinite, as for a shadow: nothing is written, and what there is to say of streams that ended waits as well.

    ``bytes_per_s``: most bytes of state written a second; ``None``: what `SNAPSHOT_SHARE` of the
    time between commits allows, as measured.
    """

    interval_s: float = 30.0
    bytes_per_s: float | None = None


@dataclass(frozen=True, slots=True)
class Quota:
    """What one commit may snapshot: the oldest ``least`` streams, all dirty since ``before_s``, ``most`` at most."""

    least: int
    most: int
    before_s: float


class SnapshotPace:
    """Spreads the snapshots evenly over the commits of an interval."""

    def __init__(self, policy: SnapshotPolicy, row_bytes: int) -> None:
        self._policy = policy
        self._row_bytes = max(1, row_bytes)
        self._last_s: float | None = None
        self._seconds_a_row = 0.0

    def quota(self, dirty: int, now_s: float) -> Quota:
        """For ``dirty`` streams in all, at the time ``now_s``."""
        interval = self._policy.interval_s
        if interval <= 0:
            return Quota(dirty, dirty, now_s)
        since = 0.0 if self._last_s is None else max(0.0, now_s - self._last_s)
        least = math.ceil(dirty * min(1.0, since / interval))
        pause_s = min(PAUSE_S, interval / 10)
        if self._last_s is not None and since < pause_s and dirty * self._row_bytes * pause_s < LITTLE_BYTES * interval:
            least = 0
        most = self._affordable(min(since, max(pause_s, 1.0)))
        return Quota(least, max(1, most), now_s - interval)

    def spent(self, rows: int, seconds: float, now_s: float) -> None:
        """A commit at ``now_s`` saved ``rows`` streams, which took ``seconds``."""
        if rows or self._last_s is None:
            self._last_s = now_s
        if rows:
            one = seconds / rows
            self._seconds_a_row = one if not self._seconds_a_row else 0.8 * self._seconds_a_row + 0.2 * one

    def _affordable(self, since_s: float) -> int:
        if self._policy.bytes_per_s is not None:
            return int(self._policy.bytes_per_s * since_s / self._row_bytes)
        if not self._seconds_a_row:
            return 256
        return int(SNAPSHOT_SHARE * since_s / self._seconds_a_row)


@dataclass(frozen=True, slots=True)
class RecoveryPolicy:
    """What to do where state and offsets do not fit together; ``fail`` stops with a message, ``reset`` starts anew.

    ``start``: where a group that has never committed begins. ``warmup`` of a new model applies the
    last ``warmup_ms`` of committed input, by record time, without emitting.
    """

    start: Start = "earliest"
    on_new_model: NewModel = "fail"
    warmup_ms: int = 0
    on_moved_offsets: Answer = "fail"
    on_lost_input: Answer = "fail"
