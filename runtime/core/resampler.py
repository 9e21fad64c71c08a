"""A live stream at another rate: a rational polyphase filter whose history and place are carried.

``rate`` samples a second for each ``input_rate``: output ``j`` is the sum over the taps of phase
``(j * down) % up`` of the input samples up to ``(j * down) // up``, with ``up / down`` the rates' ratio
in lowest terms. The filter is a windowed sinc (Kaiser, beta 9) that passes up to nine tenths of the
lower rate's half; it is causal, so the output lags by `delay_s`. Sums run over the taps in one order,
so any cutting into records gives the same bits.
"""

from __future__ import annotations

from math import gcd

import numpy as np

from runtime.core.carry import Table
from runtime.core.pieces import Pieces, by_stream

ZEROS = 16
"""Zero crossings of the sinc on each side, at the lower of the two rates."""

PASSED = 0.9
KAISER_BETA = 9.0


class Resampler:
    """Brings the samples of many streams to another rate; ``table`` holds what each stream carries."""

    def __init__(self, input_rate: int, rate: int) -> None:
        common = gcd(input_rate, rate)
        self.up, self.down = rate // common, input_rate // common
        self._taps = _polyphase(self.up, self.down)
        self.delay_s = (self._taps.shape[1] - 1) / 2 / input_rate
        kept = self._taps.shape[1] - 1
        self.table = Table(np.dtype([("taken", "<i8"), ("given", "<i8"), ("samples", "<f4", (kept,))]))

    def cut(self, pieces: Pieces) -> Pieces:
        """Samples ``float32[total]`` of records to samples at the other rate; see `Pieces`."""
        made: list[np.ndarray] = []
        starts, lengths = np.zeros_like(pieces.lengths), np.zeros_like(pieces.lengths)
        at, kept = 0, self._taps.shape[1] - 1
        rows = self.table.rows
        for slot, records in by_stream(pieces):
            taken, given = int(rows["taken"][slot]), int(rows["given"][slot])
            sizes = pieces.lengths[records]
            new = [pieces.rows[s : s + n] for s, n in zip(pieces.starts[records], sizes, strict=True)]
            samples = np.concatenate([rows["samples"][slot], *new])
            ends = self._outputs(taken + np.cumsum(sizes))
            made.append(self._filtered(samples, taken - kept, given, int(ends[-1])))
            lengths[records] = np.diff(ends, prepend=given)
            starts[records] = at + ends - given - lengths[records]
            at += int(ends[-1]) - given
            rows["taken"][slot], rows["given"][slot] = taken + int(sizes.sum()), int(ends[-1])
            rows["samples"][slot] = samples[samples.size - kept :]
        out = np.concatenate(made) if made else np.empty(0, np.float32)
        return Pieces(out, pieces.slots, starts, lengths)

    def _outputs(self, taken: np.ndarray) -> np.ndarray:
        """How many outputs so many inputs give in all: those whose newest input is there."""
        return -(-taken * self.up // self.down)

    def _filtered(self, samples: np.ndarray, first: int, begin: int, end: int) -> np.ndarray:
        """Outputs ``begin`` to ``end``; ``samples[0]`` is input ``first``."""
        places = np.arange(begin, end, dtype=np.int64) * self.down
        newest, phases = places // self.up - first, places % self.up
        total = np.zeros(places.size, np.float64)
        for tap in range(self._taps.shape[1]):  # one after the other: the order of a sum is part of its bits
            total += self._taps[phases, tap] * samples[newest - tap]
        return total.astype(np.float32)


def _polyphase(up: int, down: int) -> np.ndarray:
    """Taps ``float64[up, taps]``: tap ``t`` of phase ``p`` meets the input ``t`` before the newest."""
    slower = max(1.0, down / up)
    taps = 2 * int(np.ceil(ZEROS * slower)) + 1
    middle = (taps - 1) / 2
    at = np.arange(taps)[None, :] + np.arange(up)[:, None] / up - middle  # how far each input lies behind the output
    cutoff = PASSED / slower
    window = np.i0(KAISER_BETA * np.sqrt(np.maximum(0, 1 - (at / (middle + 1)) ** 2))) / np.i0(KAISER_BETA)
    found = cutoff * np.sinc(cutoff * at) * window
    return np.asarray(found / found.sum(axis=1, keepdims=True))
