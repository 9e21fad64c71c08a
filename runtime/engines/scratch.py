"""States in mapped files, so that a device holds more streams than it has memory."""

from __future__ import annotations

import mmap
import os
import tempfile
import weakref
from pathlib import Path

import numpy as np

from edge_rnn.contract.errors import EngineError, UsageError
from edge_rnn.contract.signature import StateSpec


class ScratchFiles:
    """Rows of an arena in a file per state pair; see `runtime.core.arena.Rows`.

    The files have no name from the start, so that nothing of them is left however the process ends.
    They are sparse, and grow without copying what is there.
    """

    def __init__(self, folder: Path) -> None:
        """``folder`` is made if missing. Raises `UsageError` when no file can be made there."""
        self._folder = folder
        self._files: dict[str, int] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            os.close(_nameless(folder))
        except OSError as error:
            raise UsageError(
                f"--arena-dir {folder} cannot hold the states: {error.strerror}; give a directory on a disk with room"
            ) from error

    def __call__(self, spec: StateSpec, capacity: int, before: np.ndarray | None) -> np.ndarray:
        """``[capacity, *row]`` that begin with the rows of ``before``, which is what the last call gave.

        Raises `EngineError` when the disk has no room for them.
        """
        size = capacity * spec.row_bytes
        if not size:
            return np.empty((capacity, *spec.row_shape), spec.dtype)
        if spec.name not in self._files:
            self._files[spec.name] = _nameless(self._folder)
            weakref.finalize(self, os.close, self._files[spec.name])
        file = self._files[spec.name]
        held = os.fstat(file).st_blocks * 512
        room = os.statvfs(self._folder)
        if size - held > room.f_bavail * room.f_frsize:
            raise EngineError(
                f"--arena-dir {self._folder} has {room.f_bavail * room.f_frsize:,} bytes left, {size - held:,} more are"
                f" needed for {capacity:,} streams; make room there or give --max-streams"
            )
        os.ftruncate(file, size)
        mapped = mmap.mmap(file, size)
        mapped.madvise(mmap.MADV_RANDOM)
        return np.frombuffer(mapped, spec.dtype).reshape(capacity, *spec.row_shape)


def _nameless(folder: Path) -> int:
    """A file that goes with its last descriptor."""
    file, name = tempfile.mkstemp(prefix="edge-rnn-", dir=folder)
    Path(name).unlink()
    return file
