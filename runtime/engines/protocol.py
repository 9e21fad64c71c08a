"""What the core asks of an engine: it owns the states, and steps those of the slots that it is given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

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
