"""One daemon a group of the embedded store: a file lock that dies with its process."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from urllib.parse import quote

from edge_rnn.contract.errors import Fenced


def lock_path(store: Path, group: str) -> Path:
    """The file beside the store that the daemon of a group holds locked."""
    return store.with_name(f"{store.name}-{quote(group, safe='')}.lock")


class GroupLock:
    """Held from construction to `release`, or until the process ends however it ends. Raises `Fenced` if taken."""

    def __init__(self, store: Path, group: str) -> None:
        self.path = lock_path(store, group)
        self._file = self.path.open("a+")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.seek(0)
            holder = self._file.read().strip() or "unknown"
            self._file.close()
            raise Fenced(
                f"group {group!r} of {store} is run by another process (pid {holder}); stop it, or use another --group"
            ) from error
        self._file.truncate(0)
        self._file.write(f"{os.getpid()}\n")
        self._file.flush()

    @classmethod
    def holder(cls, store: Path, group: str) -> str | None:
        """The process id of the daemon that runs a group, ``None``: nobody does."""
        path = lock_path(store, group)
        if not path.exists():
            return None
        with path.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                return file.read().strip() or "unknown"
        return None

    def release(self) -> None:
        """Let another daemon have the group. The file stays: removing it would let two hold it."""
        self._file.close()
