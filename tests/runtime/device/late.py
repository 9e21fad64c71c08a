"""A device whose queues do nothing until somebody waits: what is read or used again too early is wrong at once.

Work is done where a mark behind it is waited for, on the host or by another queue; with a generator of random numbers,
some of it earlier, as a GPU may have got to it by then. Buffers are lent full of garbage.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from runtime.core.device import Device, Mark, Pair
from runtime.core.moves import Moves, PlainMoves

GARBAGE = 0xC7


class OnDevice(np.ndarray):
    """Memory of the device."""


class Numpy:
    """NumPy, whose new arrays are the device's."""

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)

    def empty(self, shape: Any, dtype: Any) -> np.ndarray:
        return np.empty(shape, dtype).view(OnDevice)


@dataclass
class LateMark:
    queue: LateQueue
    behind: int

    def passed(self) -> bool:
        return self.queue.done >= self.behind

    def wait(self) -> None:
        self.queue.go_on(self.behind)


class LateQueue:
    """See `runtime.core.device.Queue`; ``rng``: how much is done before it is waited for."""

    def __init__(self, rng: np.random.Generator | None = None) -> None:
        self._rng = rng
        self._work: deque[Callable[[], object]] = deque()
        self.done = 0
        self.waiting_most = 0
        self.copied = {"up": 0, "down": 0}

    def put(self, work: Callable[[], object]) -> None:
        self._work.append(work)
        self.waiting_most = max(self.waiting_most, len(self._work))
        if self._rng is not None and self._rng.random() < 0.3:
            self.go_on(self.done + int(self._rng.integers(len(self._work) + 1)))

    def copy(self, source: Any, target: Any) -> None:
        assert isinstance(source, OnDevice) != isinstance(target, OnDevice), "a copy is between host and device"
        assert source.shape == target.shape
        assert source.dtype == target.dtype == np.uint8
        self.copied["up" if isinstance(target, OnDevice) else "down"] += 1

        def copy() -> None:
            target[...] = source

        self.put(copy)

    def mark(self) -> LateMark:
        return LateMark(self, self.done + len(self._work))

    def follow(self, mark: Mark) -> None:
        self._work.append(mark.wait)

    def go_on(self, until: int) -> None:
        """Do all work before this place."""
        while self.done < until:
            work = self._work.popleft()
            self.done += 1
            work()


def late_device(rng: np.random.Generator | None = None, *, shared: bool = False, moves: Moves | None = None) -> Device:
    """NumPy as such a device; ``shared``: its memory is the host's, and nothing may be copied."""

    def room(size: int) -> Pair:
        host = np.full(size, GARBAGE, np.uint8)
        return Pair(host, host if shared else np.full(size, GARBAGE, np.uint8).view(OnDevice))

    xp, queue = Numpy(), LateQueue(rng)
    copies = queue if shared else LateQueue(rng)
    return Device(xp, queue, copies, room, PlainMoves(xp) if moves is None else moves, shared)
