"""The name under which a daemon is known to its group, kept over restarts so that it returns as itself."""

from __future__ import annotations

import fcntl
import itertools
import uuid
from pathlib import Path
from types import TracebackType

from edge_rnn.contract.errors import UsageError


class InstanceName:
    """A UUID kept in ``<state_dir>/<group>/instance-N`` and locked while this process lives.

    Two daemons of one group on one machine take different files, and a device cloned before its
    first start gets a name of its own. Use as a context manager; ``name`` is the instance.
    """

    def __init__(self, state_dir: Path, group: str, *, new: bool = True) -> None:
        """Take the first free name, making one if there is none.

        Raises `UsageError` if it cannot be kept, or if there is none and it may not be ``new``.
        """
        folder = state_dir / group.replace("/", "_")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for number in itertools.count():
                file = (folder / f"instance-{number}").open("a+")
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    file.close()
                    continue
                self._file = file
                break
            self._file.seek(0)
            self.name = self._file.read().strip()
            if not self.name and not new:
                self._file.close()
                raise UsageError(
                    f"no stopped daemon of group {group!r} has its name in {folder}: stop the one to take over from,"
                    " or give its --state-dir or --instance"
                )
            if not self.name:
                self.name = str(uuid.uuid4())
                self._file.write(self.name + "\n")
                self._file.flush()
        except OSError as error:
            raise UsageError(
                f"the instance name cannot be kept in {folder}: {error.strerror}; give --state-dir or --instance"
            ) from error

    @staticmethod
    def known(state_dir: Path, group: str) -> list[str]:
        """The names that are kept there, in use or not."""
        files = sorted((state_dir / group.replace("/", "_")).glob("instance-*"))
        return [name for name in (file.read_text().strip() for file in files) if name]

    def __enter__(self) -> InstanceName:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._file.close()
