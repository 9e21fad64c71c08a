"""The demo's folder: made or cleared at the start, never another's, and used by one demo at a time."""

from __future__ import annotations

import fcntl
import shutil
from pathlib import Path
from types import TracebackType

from edge_rnn.contract.errors import UsageError
from edge_rnn.demo.settings import RECIPE
from edge_rnn.recipes import STREAMS

MARK = ".edge-rnn-demo"
STORE = "broker.sqlite"


class DemoFolder:
    """The folder ``path`` with what the demo writes in it. Use as a context manager: it is locked meanwhile."""

    def __init__(self, path: Path) -> None:
        """Take the folder. Raises `UsageError` when it holds something else than an earlier demo, or one is running."""
        self.path = path
        mark = path / MARK
        if path.exists() and not mark.is_file() and not (path.is_dir() and not any(path.iterdir())):
            raise UsageError(f"{path} exists and is not an earlier demo's folder; give another --out or remove it")
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._mark = mark.open("a")
        except OSError as error:
            raise UsageError(f"{path} cannot be written: {error.strerror}; give another --out") from error
        try:
            fcntl.flock(self._mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._mark.close()
            raise UsageError(f"another demo is running in {path}; wait for it or give another --out") from None

    @property
    def run(self) -> Path:
        """What training leaves."""
        return self.path / "activity"

    @property
    def bundle(self) -> Path:
        """What the export leaves."""
        return self.path / "activity.bundle"

    @property
    def rows(self) -> Path:
        """The held-out sequences as a table."""
        return self.run / STREAMS

    @property
    def store(self) -> Path:
        """The embedded broker's file."""
        return self.path / STORE

    @property
    def state(self) -> Path:
        """Where the daemon keeps its name."""
        return self.path / "state"

    @property
    def log(self) -> Path:
        """What the daemon logs."""
        return self.path / "daemon.log"

    @property
    def page(self) -> Path:
        """The page with the pictures."""
        return self.path / "index.html"

    @property
    def result(self) -> Path:
        """The figures as JSON."""
        return self.path / "result.json"

    def clear(self) -> None:
        """Remove what an earlier demo wrote here, and nothing else."""
        for folder in (self.run, self.bundle, self.state):
            shutil.rmtree(folder, ignore_errors=True)
        beside = ("", "-wal", "-shm", f"-{RECIPE}.lock")
        stores = [self.store.with_name(STORE + end) for end in beside]
        for file in (*stores, self.log, self.page, self.result):
            file.unlink(missing_ok=True)

    def __enter__(self) -> DemoFolder:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._mark.close()
