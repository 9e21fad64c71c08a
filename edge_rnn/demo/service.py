"""The daemon as a process of its own, started, killed and stopped as a user or a supervisor would."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from edge_rnn.contract.errors import EdgeRnnError

STOP_S = 30.0
LOOK_EVERY_S = 0.05


class Service:
    """One life of ``edge-rnn run``. Its log is appended to a file, a JSON object a line."""

    def __init__(self, arguments: Sequence[str], log: Path) -> None:
        self.log = log
        self._skipped_bytes = log.stat().st_size if log.exists() else 0
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                # -P: a folder of the user's that is called like one of our packages must not stand before it
                [sys.executable, "-P", "-m", "edge_rnn.cli", *arguments, "--log-format", "json"],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
            )

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def check(self) -> None:
        """Raise `EdgeRnnError` with the last line of the log when the process has ended."""
        status = self._process.poll()
        if status is not None:
            last = next((line for line in reversed(self._lines()) if line.strip()), "it said nothing")
            raise EdgeRnnError(f"the daemon ended with status {status}: {last}; see {self.log}")

    def events(self, name: str) -> list[dict[str, Any]]:
        """The log's entries ``name`` in this life."""
        return [entry for entry in self._entries() if entry.get("event") == name]

    def wait_ready(self, partitions: int, timeout_s: float = 60.0) -> int:
        """Wait until that many partitions are served; returns how many streams came back with their state."""
        deadline = time.monotonic() + timeout_s
        while len(ready := self.events("partition ready")) < partitions:
            self.check()
            if time.monotonic() > deadline:
                raise EdgeRnnError(
                    f"the daemon serves {len(ready)} of {partitions} partitions after {timeout_s:.0f} s; see {self.log}"
                )
            time.sleep(LOOK_EVERY_S)
        return sum(int(entry.get("streams", 0)) for entry in ready)

    def kill(self) -> None:
        """SIGKILL, and wait until the process is gone."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> int:
        """SIGTERM; returns the exit status."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGTERM)
        try:
            return self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise EdgeRnnError(f"the daemon did not stop within {STOP_S:.0f} s of SIGTERM; see {self.log}") from None

    def close(self) -> None:
        """Leave no process behind, whatever happened."""
        if self._process.poll() is None:
            self.kill()

    def _lines(self) -> list[str]:
        with self.log.open("rb") as file:
            file.seek(self._skipped_bytes)
            return file.read().decode(errors="replace").splitlines()

    def _entries(self) -> Iterator[dict[str, Any]]:
        for line in self._lines():
            with contextlib.suppress(json.JSONDecodeError):
                entry = json.loads(line)
                if isinstance(entry, dict):
                    yield entry
