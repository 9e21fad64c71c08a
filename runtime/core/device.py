"""What the core asks of a device: arrays, queues of work that is done later and in order, and memory to copy through.

The host puts work into a queue and goes on. It may not touch what the work reads or writes until a mark behind the work has
been passed. On a GPU a queue is a stream and a mark an event (`runtime.engines.cupy_device`); `at_once` is the host itself,
whose queue does everything where it is put.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from runtime.core.moves import Moves, PlainMoves

ALIGNMENT = 256
"""Bytes; where arrays that share a buffer begin: kernels and TensorRT ask for no more."""

MOST_LENT = 4
"""Buffers of one size that wait for the device at once, before the host waits for the oldest."""


class Mark(Protocol):
    """A place in a queue."""

    def passed(self) -> bool:
        """Whether all that was put in before is done."""

    def wait(self) -> None:
        """Until it is. Raises what went wrong on the device, as a `RuntimeError`."""


class Queue(Protocol):
    """Work of a device, done one after the other in the order in which it is put in."""

    def put(self, work: Callable[[], object]) -> None:
        """``work`` computes with arrays of the device. Raises what can be told at once."""

    def copy(self, source: Any, target: Any) -> None:
        """Bytes between the host and the device: two contiguous uint8[n], one of each."""

    def mark(self) -> Mark:
        """Behind all that has been put in so far."""

    def follow(self, mark: Mark) -> None:
        """What is put in from now on begins when another queue has passed this mark."""


@dataclass(frozen=True)
class Pair:
    """A buffer of the host that the device copies from and to directly, and one of the device: uint8[n] each.

    Where the two share their memory they are one.
    """

    host: np.ndarray
    device: Any


@dataclass(frozen=True)
class Device:
    """``xp``: its array module. ``queue``: where it computes; ``copies``: a queue beside that one.

    ``room`` makes a `Pair` of so many bytes. ``moves``: how rows of states get into a call and back. ``shared``: host and device have one memory, so that nothing is copied.
    ``entered``: the context in which arrays of ``xp`` are made and used.
    """

    xp: Any
    queue: Queue
    copies: Queue
    room: Callable[[int], Pair]
    moves: Moves
    shared: bool = False
    entered: Callable[[], AbstractContextManager[object]] = nullcontext

    def up(self, pair: Pair, size: int, queue: Queue) -> None:
        """The device's buffer gets what is in the host's, up to ``size``."""
        if not self.shared:
            queue.copy(pair.host[:size], pair.device[:size])

    def down(self, pair: Pair, size: int, queue: Queue) -> None:
        """The host's buffer gets what is in the device's, up to ``size``."""
        if not self.shared:
            queue.copy(pair.device[:size], pair.host[:size])


class _Passed:
    """The mark of a queue that never has anything to do."""

    def passed(self) -> bool:
        """It has been."""
        return True

    def wait(self) -> None:
        """Nothing to wait for."""


class AtOnce:
    """A queue that does all work where it is put; see `Queue`."""

    def put(self, work: Callable[[], object]) -> None:
        """Do it."""
        work()

    def copy(self, source: Any, target: Any) -> None:
        """Do it."""
        target[...] = source

    def mark(self) -> Mark:
        """All is done."""
        return _Passed()

    def follow(self, mark: Mark) -> None:
        """Nothing to wait for."""


def at_once(xp: Any = np, *, shared: bool = False, moves: Moves | None = None) -> Device:
    """The host in the place of a device."""

    def room(size: int) -> Pair:
        buffer = np.zeros(size, np.uint8)
        return Pair(buffer, buffer if shared else xp.empty(size, np.uint8))

    queue = AtOnce()
    return Device(xp, queue, queue, room, PlainMoves(xp) if moves is None else moves, shared)


class Layout:
    """Several arrays in one buffer of bytes, so that one copy takes them all."""

    def __init__(self, parts: Sequence[tuple[tuple[int, ...], np.typing.DTypeLike]]) -> None:
        """``parts``: shape and type of each."""
        self._parts: list[tuple[int, int, tuple[int, ...], np.dtype[Any]]] = []
        at = 0
        for shape, dtype in parts:
            size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
            self._parts.append((at, at + size, shape, np.dtype(dtype)))
            at += -(-size // ALIGNMENT) * ALIGNMENT
        self.size = max(at, ALIGNMENT)

    def views(self, buffer: Any) -> list[Any]:
        """Each part as an array within ``buffer``, uint8[size] of the host or the device."""
        return [buffer[begin:end].view(dtype).reshape(shape) for begin, end, shape, dtype in self._parts]


class Lending:
    """Buffers to copy through: given back with a mark, they are lent again when the device has passed it."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._back: dict[int, deque[tuple[Mark, Pair]]] = {}

    def take(self, size: int) -> Pair:
        """A buffer of at least ``size`` bytes. What is in it is undefined."""
        size = max(ALIGNMENT, 1 << (size - 1).bit_length())
        back = self._back.setdefault(size, deque())
        if back and (len(back) >= MOST_LENT or back[0][0].passed()):
            mark, pair = back.popleft()
            mark.wait()
            return pair
        return self._device.room(size)

    def give(self, pair: Pair, mark: Mark) -> None:
        """Back; whoever had it last is done with it when ``mark`` has been passed."""
        self._back.setdefault(pair.host.size, deque()).append((mark, pair))
