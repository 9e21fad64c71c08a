"""What the core asks of an engine: it owns the states, and steps those of the slots that it is given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from edge_rnn.contract.signature import Manifest


class Engine(Protocol):
    """A step graph with the states of all streams, wherever both live."""

    manifest: Manifest

    def grow(self, capacity: int) -> None:
        """Make room for at least ``capacity`` streams."""

    def reset(self, slots: np.ndarray) -> None:
        """Give these slots (int64[n]) the states of a stream that has seen nothing."""

    def run(self, slots: np.ndarray, inputs: Sequence[np.ndarray]) -> tuple[list[np.ndarray], np.ndarray]:
        """Step the streams in ``slots`` (int64[batch], no repeats) through ``inputs``.

        ``inputs`` and the outputs returned are ``[time, batch, *row]`` per manifest entry. Also
        returned: bool[batch], whether all of a stream's outputs and new states are finite. Where
        not, its states are left as they were and its outputs mean nothing. Raises `EngineError`;
        all states are then as they were. Several threads may each step slots of their own at once.
        """

    def works(self) -> bool:
        """Whether one step of zeros from the first states succeeds: if so, a failed call is its input's fault."""

    def read(self, slots: np.ndarray) -> np.ndarray:
        """The states of these slots as bytes: uint8[n, state_bytes], state pairs in manifest order."""

    def write(self, slots: np.ndarray, rows: np.ndarray) -> None:
        """The inverse of `read`."""


class Begun(Protocol):
    """A call that was begun."""

    def result(self) -> tuple[list[np.ndarray], np.ndarray]:
        """Wait for it: what `Engine.run` returns. Asked for once, in the order in which calls were begun.

        Raises `EngineError` when the device failed; all states are then undefined.
        """


@runtime_checkable
class OverlappingEngine(Engine, Protocol):
    """An engine that works beside its caller: a call may be begun while another one runs."""

    def begin(self, slots: np.ndarray, inputs: Sequence[np.ndarray]) -> Begun | None:
        """Begin a call like `Engine.run`'s behind those under way; they may have streams in common.

        ``None``: not now, ask for the result of one under way first; never while there is none. ``inputs`` may be
        used again at once. A stream that is not good in one call is not good either, and is left alone, in those that
        are begun before the results of all under way have been asked for. Raises `EngineError`; this call has then
        done nothing.
        """

    def begin_read(self, slots: np.ndarray) -> Callable[[], np.ndarray]:
        """Begin to read states as they are behind all calls begun so far; what is returned waits for them.

        It may be called from another thread, and while other calls are begun. Raises `EngineError`.
        """
