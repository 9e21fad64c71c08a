"""Rows moved by kernels of our own: one takes all states of a call, one settles it. Not seen on a GPU so far."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from edge_rnn.contract.errors import EngineError
from runtime.core.moves import Made, row_bytes
from runtime.engines.bound import address
from runtime.engines.kernel_source import MOVE, SETTLE, Copy, move_source, settle_source, threads

WIDEST = 16
"""Bytes that a thread moves at once, at most."""

MOST_ARGUMENTS = 500
"""Of 8 bytes each: 4 kB of arguments are what every GPU takes."""

MOST_WORDS = 1 << 31

MOST_PLANS = 4096
"""Kinds of calls that are remembered."""


class Kernel(Protocol):
    """A kernel: blocks along x and y, threads of each, and its arguments, arrays and whole numbers of 64 bits."""

    def __call__(self, grid: tuple[int, int], block: tuple[int], args: tuple[Any, ...], /) -> object: ...


Compiler = Callable[[str, str], Kernel]
"""Takes CUDA C++ and a kernel's name. Raises `EngineError` where it cannot be compiled."""


class Pairing:
    """An array that is read and one that is written, each with its rows or streams behind ``lead`` - 1 axes of steps."""

    def __init__(self, source: Any, target: Any, lead: int = 1, *, tested: bool = False) -> None:
        """Raises `EngineError` where they do not fit."""
        apart = source.shape[lead:] != target.shape[lead:] or source.shape[: lead - 1] != target.shape[: lead - 1]
        if source.dtype != target.dtype or apart:
            raise EngineError(
                f"a call gave {source.dtype}{list(source.shape)} where {target.dtype}{list(target.shape)} was expected"
            )
        self.source, self.target, self.lead, self.tested = source, target, lead, tested

    def key(self) -> tuple[Any, ...]:
        """What the kernel and its arguments but the addresses depend on."""
        source, target, lead = self.source, self.target, self.lead
        apart = (address(source) | address(target)) % WIDEST
        steps = source.shape[: lead - 1]
        return source.dtype.str, source.shape[lead:], steps, source.strides, target.strides, apart, self.tested

    def plan(self) -> tuple[Copy, list[int]]:
        """How it is copied, and the arguments behind the addresses."""
        source, target, lead = self.source, self.target, self.lead
        floats, size = self.tested and source.dtype.kind == "f", int(source.dtype.itemsize)
        if floats and size not in (2, 4, 8):
            raise EngineError(f"no kernel of ours tests {source.dtype}")
        lane = size if size in (1, 2, 4, 8) else 8 if size % 8 == 0 else 1
        axes = list(zip(source.shape[lead:], source.strides[lead:], target.strides[lead:], strict=True))
        axes = _merged([*axes, (size // lane, lane, lane)], lane)
        *outer, (inner, *apart) = axes
        together = apart == [lane, lane]
        outside = [stride for side in (source, target) for stride in side.strides[:lead]]
        outside += [stride for _, *strides in outer for stride in strides]
        bits = address(source) | address(target) | (inner * lane if together else lane)
        for stride in [*outside, *([] if together else apart)]:
            bits |= stride
        word = min(bits & -bits, WIDEST) if together else lane
        if bits % lane:
            raise EngineError(f"no kernel of ours copies {source.dtype} that does not lie at multiples of its size")
        sizes = (*(size for size, *_ in outer), inner * lane // word)
        copy = Copy(lane, word // lane, sizes, together, lead == 2, floats)
        steps = [int(source.shape[0])] if lead == 2 else []
        if copy.words * (steps[0] if steps else 1) >= MOST_WORDS:
            raise EngineError(f"no kernel of ours copies {copy.words} words a stream")
        strides = []
        for side, by_row in ((source, 1), (target, 2)):
            strides += [side.strides[lead - 1], *side.strides[: lead - 1]]
            strides += [axis[by_row] for axis in (outer if together else axes)]
        return copy, [*steps, *strides]


class KernelMoves:
    """See `runtime.core.moves.Moves`. Row ``scratch`` is never written: it stays what it was at first.

    Kernels are compiled when they are first needed, one for each kind of arrays. Raises `EngineError` where that fails.
    """

    def __init__(self, xp: Any, compiler: Compiler) -> None:
        self._xp, self._compiler = xp, compiler
        self._kernels: dict[str, Kernel] = {}
        self._plans: dict[tuple[Any, ...], tuple[Kernel, int, list[list[int]]]] = {}

    @property
    def compiled(self) -> int:
        """Kernels so far."""
        return len(self._kernels)

    def take(self, arrays: Sequence[Any], index: Any, axes: Sequence[int], /) -> list[Any]:
        """With the streams as the axis that the graph has them: it takes them as they lie."""
        rooms = []
        for array, axis in zip(arrays, axes, strict=True):
            shape = list(array.shape[1:])
            shape.insert(axis, index.shape[0])
            rooms.append(self._xp.moveaxis(self._xp.empty(tuple(shape), array.dtype), axis, 0))
        self._move([Pairing(array, room) for array, room in zip(arrays, rooms, strict=True)], index, into_rows=False)
        return rooms

    def settle(self, made: Made, index: Any, halted: Any, scratch: int, good: Any, /) -> None:
        """In one kernel."""
        outputs = [Pairing(value, room, 2, tested=True) for value, room in made.outputs if value.size]
        states = [Pairing(new, array, tested=True) for new, array in made.states if row_bytes(array)]
        count, streams = len(outputs), int(index.shape[0])
        for pair in (*outputs, *states):
            if pair.source.shape[pair.lead - 1] != streams:
                raise EngineError(f"a call of {streams} streams gave {list(pair.source.shape)}")

        def source(copies: Sequence[Copy]) -> str:
            return settle_source(copies[:count], copies[count:])

        head = (index, halted, good, scratch)
        self._launch((SETTLE, count), source, head, [*outputs, *states], (streams, 1))

    def pack(self, arrays: Sequence[Any], index: Any, packed: Any, /) -> None:
        """In one kernel."""
        self._move([Pairing(array, piece) for array, piece in _pieces(arrays, packed)], index, into_rows=False)

    def unpack(self, packed: Any, arrays: Sequence[Any], index: Any, /) -> None:
        """In one kernel."""
        self._move([Pairing(piece, array) for array, piece in _pieces(arrays, packed)], index, into_rows=True)

    def _move(self, pairs: Sequence[Pairing], index: Any, *, into_rows: bool) -> None:
        pairs = [pair for pair in pairs if row_bytes(pair.source)]

        def source(copies: Sequence[Copy]) -> str:
            return move_source(copies, into_rows=into_rows)

        if pairs:
            self._launch((MOVE, into_rows), source, (index,), pairs, (index.shape[0], len(pairs)))

    def _launch(
        self,
        what: tuple[str, int],
        source: Callable[[Sequence[Copy]], str],
        head: tuple[Any, ...],
        pairs: Sequence[Pairing],
        grid: tuple[int, int],
    ) -> None:
        if not grid[0]:
            return
        key = (what, *(pair.key() for pair in pairs))
        if key not in self._plans:
            if len(self._plans) >= MOST_PLANS:
                self._plans.clear()
            plans = [pair.plan() for pair in pairs]
            copies = [copy for copy, _ in plans]
            given = len(head) + sum(2 + len(numbers) for _, numbers in plans)
            if given > MOST_ARGUMENTS:
                raise EngineError(f"a kernel of ours for {len(pairs)} arrays would take {given} arguments")
            kernel = self._compiled(source(copies), what[0])
            self._plans[key] = kernel, threads(copies), [numbers for _, numbers in plans]
        kernel, block, numbers = self._plans[key]
        args = list(head)
        for pair, more in zip(pairs, numbers, strict=True):
            args += [pair.source, pair.target, *more]
        kernel(grid, (block,), tuple(args))

    def _compiled(self, source: str, name: str) -> Kernel:
        if source not in self._kernels:
            self._kernels[source] = self._compiler(source, name)
        return self._kernels[source]


def _merged(axes: Sequence[tuple[int, int, int]], lane: int) -> list[tuple[int, int, int]]:
    """Axes of a row, size and stride on each side, with those made one that lie as one on both."""
    found: list[tuple[int, int, int]] = []
    for size, source, target in axes:
        if size == 1:
            continue
        if found and found[-1][1:] == (size * source, size * target):
            size *= found.pop()[0]
        found.append((size, source, target))
    return found or [(1, lane, lane)]


def _pieces(arrays: Sequence[Any], packed: Any) -> list[tuple[Any, Any]]:
    """Each array as bytes ``[rows, n]``, and its part of ``packed``."""
    found, at = [], 0
    for array in arrays:
        if width := row_bytes(array):
            rows = array.reshape(array.shape[0], width // array.dtype.itemsize).view(np.uint8)
            found.append((rows, packed[:, at : at + width]))
        at += width
    return found
