"""Moments of the run and what follows from them: throughput, backlog, recovery. Times are seconds since the feed began."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge_rnn.demo.records import Seen, Sent

BEFORE_S = 2.0
"""How long before the kill the backlog is looked at, to know what is usual."""


@dataclass(frozen=True, slots=True)
class Moments:
    """When the daemon was killed, when it was started again, and when all its partitions were ready."""

    killed_s: float
    restarted_s: float
    ready_s: float
    streams_restored: int


@dataclass(frozen=True, slots=True)
class Recovery:
    """The first output of the new process, when the backlog was as before the kill, and how large it became."""

    first_output_s: float | None
    caught_up_s: float | None
    most_backlog: int


def throughput(at_s: Sequence[float], end_s: float, bin_s: float) -> np.ndarray:
    """Records a second in bins of ``bin_s`` from 0 to ``end_s``."""
    count = max(1, int(np.ceil(end_s / bin_s)))
    bins = np.minimum((np.asarray(at_s, float) / bin_s).astype(int), count - 1)
    return np.bincount(np.maximum(bins, 0), minlength=count) / bin_s


def backlog(sent_s: Sequence[float], seen_s: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Records that went in and have not come out: the moments of change, and the count from each on."""
    moments = np.unique(np.concatenate([np.asarray(sent_s, float), np.asarray(seen_s, float)]))
    came = np.searchsorted(np.sort(sent_s), moments, side="right")
    gone = np.searchsorted(np.sort(seen_s), moments, side="right")
    return moments, came - gone


def recover(sent_s: Sequence[float], seen_s: Sequence[float], moments: Moments) -> Recovery:
    """What the records tell about the recovery.

    Outputs of the first process must all have been seen before ``moments.restarted_s``.
    """
    after = [at for at in seen_s if at >= moments.restarted_s]
    times, waiting = backlog(sent_s, seen_s)
    usual = waiting[(times >= moments.killed_s - BEFORE_S) & (times < moments.killed_s)].max(initial=0)
    most = int(waiting[times >= moments.killed_s].max(initial=0))
    if not after:
        return Recovery(None, None, most)
    first = min(after)
    settled = times[(times >= first) & (waiting <= usual)]
    return Recovery(first, float(settled[0]) if settled.size else None, most)


def median_latency_ms(keys: Sequence[str], sent: Sent, seen: Seen) -> float:
    """The usual time from a record to the sight of its output, in milliseconds; ``keys`` names the streams."""
    names = zip((keys[stream] for stream in sent.streams), sent.timestamps_ms, strict=True)
    began = dict(zip(names, sent.at_s, strict=True))
    ends = zip(zip(seen.keys, seen.timestamps_ms, strict=True), seen.at_s, strict=True)
    spans = [at - began[name] for name, at in ends if name in began]
    return 1000 * float(np.median(spans)) if spans else float("nan")
