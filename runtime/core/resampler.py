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
from runtime.core.cutting import cut_by_stream
from runtime.core.pieces import Pieces

ZEROS = 16
"""Zero crossings of the sinc on each side, at the lower of the two rates."""

PASSED = 0.9
KAISER_BETA = 9.0


SLICED = 8
"""Up to so many phases each one's outputs are taken together, as a slice; they are far apart where there are more."""


class Resampler:
    """Brings the samples of many streams to another rate; ``table`` holds what each stream carries.

    A stream's ``ahead`` is how far its next output lies behind the beginning of its next input, in parts of
    ``1 / up`` input samples: 0 to ``down - 1``.
    """

    def __init__(self, input_rate: int, rate: int) -> None:
        common = gcd(input_rate, rate)
        self.up, self.down = rate // common, input_rate // common
        self._taps = _polyphase(self.up, self.down)
        self.delay_s = (self._taps.shape[1] - 1) / 2 / input_rate
        self._kept = self._taps.shape[1] - 1
        self.table = Table(np.dtype([("ahead", "<i8"), ("samples", "<f4", (self._kept,))]))

    def cut(self, pieces: Pieces) -> Pieces:
        """Samples ``float32[total]`` of records to samples at the other rate; see `Pieces`."""
        return cut_by_stream(self, pieces, ())

    def state(self, slots: np.ndarray) -> np.ndarray:
        """See `runtime.core.cutting.Cutter`."""
        return np.asarray(self.table.rows["ahead"][slots])

    def count(self, state: np.ndarray, taken: np.ndarray) -> np.ndarray:
        """Outputs whose newest input is there."""
        return np.asarray(-((state - taken * self.up) // self.down))

    def cut_alike(self, slots: np.ndarray, state: int, samples: np.ndarray) -> np.ndarray:
        """See `runtime.core.cutting.Cutter`."""
        rows, new = self.table.rows, samples.shape[1]
        whole = np.concatenate([rows["samples"][slots], samples], axis=1)
        count = int(self.count(np.asarray(state), np.asarray(new)))
        rows["ahead"][slots] = state + count * self.down - new * self.up
        rows["samples"][slots] = whole[:, new:]
        return self._filtered(whole.astype(np.float64), state, count)

    def _filtered(self, samples: np.ndarray, ahead: int, count: int) -> np.ndarray:
        """The next ``count`` outputs; ``samples[:, kept]`` is the first new input of each stream."""
        total = np.zeros((samples.shape[0], count))
        places = ahead + np.arange(count) * self.down
        newest, phases = self._kept + places // self.up, places % self.up
        taps = range(self._taps.shape[1])  # one after the other: the order of a sum is part of its bits
        if self.up > SLICED:
            for tap in taps:
                total += self._taps[phases, tap] * samples[:, newest - tap]
            return total.astype(np.float32)
        for turn in range(min(self.up, count)):
            part, weights = total[:, turn :: self.up], self._taps[phases[turn]]
            reach = (part.shape[1] - 1) * self.down + 1
            for tap in taps:
                begin = newest[turn] - tap
                part += weights[tap] * samples[:, begin : begin + reach : self.down]
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
