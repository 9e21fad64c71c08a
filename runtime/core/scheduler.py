"""Binary chunking: a batch of records becomes a few model calls without padding or masks.

A stream with 13 steps pending takes part in calls of 1, 4 and 8 steps, smallest first, so that a
stream with one step never waits behind another's backlog. All streams that need a chunk of the
same length share one call. For several threads the streams are dealt out, each thread with a plan
of its own. Only plans are made here; nothing is run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Call:
    """One model call: ``rows[t, b]`` is the decoded row that stream ``slots[b]`` takes at step ``t``.

    ``slots`` is int64[batch] without repeats, ``rows`` int64[time, batch].
    """

    slots: np.ndarray
    rows: np.ndarray


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of a call: at most ``chunk`` steps along time (a power of two), ``steps`` = time x batch, and ``streams``."""

    chunk: int = 256
    steps: int = 16384
    streams: int = 16384

    def __post_init__(self) -> None:
        if self.chunk < 1 or self.chunk & (self.chunk - 1):
            raise ValueError(f"chunk is {self.chunk}, expected a power of two")
        if self.steps < self.chunk:
            raise ValueError(f"steps is {self.steps}, expected at least one chunk of {self.chunk}")


LEAST_STEPS, LEAST_STREAMS = 256, 4
"""Fewer steps, or deep backlogs of fewer streams, are not worth a thread of their own: the calls would be too narrow."""


def plan(slots: np.ndarray, starts: np.ndarray, lengths: np.ndarray, limits: Limits) -> Iterator[Call]:
    """Yield the calls that take every record through the model, in order within each stream.

    ``slots``, ``starts`` and ``lengths`` are int64[n], a record each: its stream's slot, its first
    row and its number of rows (0: nothing to do). The calls of one stream come in the order in
    which its rows stand in the records.
    """
    return _plan(_rows_by_stream(slots, starts, lengths), limits)


def plans(
    slots: np.ndarray, starts: np.ndarray, lengths: np.ndarray, limits: Limits, most: int
) -> list[Iterator[Call]]:
    """Up to ``most`` plans of about equal work, with streams of their own: one may run beside the others. See `plan`."""
    pending = _rows_by_stream(slots, starts, lengths)
    n = min(most, pending.counts.size // LEAST_STREAMS, int(pending.counts.sum()) // LEAST_STEPS)
    if n <= 1:
        return [_plan(pending, limits)]
    dealt = np.empty(pending.counts.size, np.int64)
    turns = np.arange(dealt.size) % (2 * n)
    dealt[np.argsort(-pending.counts, kind="stable")] = np.minimum(turns, 2 * n - 1 - turns)  # 0 1 1 0 0 1 1 0
    return [_plan(pending.of(np.flatnonzero(dealt == share)), limits) for share in range(n)]


def _plan(pending: _Pending, limits: Limits) -> Iterator[Call]:
    done = pending.first.copy()
    longest = int(pending.counts.max(initial=0))
    chunk = 1
    while chunk < limits.chunk and chunk <= longest:
        yield from _calls(pending, np.flatnonzero(pending.counts & chunk), done, chunk, limits)
        chunk *= 2
    whole = pending.counts // limits.chunk
    while (left := np.flatnonzero(whole)).size:
        yield from _calls(pending, left, done, limits.chunk, limits)
        whole[left] -= 1


@dataclass(frozen=True, slots=True)
class _Pending:
    slots: np.ndarray  # int64[streams], each stream once
    first: np.ndarray  # int64[streams], where the stream's rows begin in `rows`
    counts: np.ndarray  # int64[streams], how many rows it has
    rows: np.ndarray  # int64[steps], row numbers grouped by stream, in record order within one

    def of(self, streams: np.ndarray) -> _Pending:
        """Some of the streams."""
        return _Pending(self.slots[streams], self.first[streams], self.counts[streams], self.rows)


def _rows_by_stream(slots: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> _Pending:
    if lengths.size and (lengths == 1).all():
        step_slots, step_rows = slots, starts
    else:
        step_slots = np.repeat(slots, lengths)
        ends = np.cumsum(lengths)
        step_rows = np.arange(step_slots.size) + np.repeat(starts - (ends - lengths), lengths)
    order = np.argsort(step_slots, kind="stable")
    grouped = step_slots[order]
    begins = np.ones(grouped.size, bool)
    np.not_equal(grouped[1:], grouped[:-1], out=begins[1:])
    first = np.flatnonzero(begins)
    counts = np.empty_like(first)
    np.subtract(first[1:], first[:-1], out=counts[:-1])
    counts[-1:] = grouped.size - first[-1:]
    return _Pending(grouped[first], first, counts, step_rows[order])


def _calls(pending: _Pending, streams: np.ndarray, done: np.ndarray, chunk: int, limits: Limits) -> Iterator[Call]:
    """Calls of ``chunk`` steps for these streams; moves ``done`` on."""
    widest = max(1, min(limits.steps // chunk, limits.streams))
    steps = np.arange(chunk)[:, None]
    for begin in range(0, streams.size, widest):
        some = streams[begin : begin + widest]
        yield Call(pending.slots[some], pending.rows[done[some] + steps])
    done[streams] += chunk
