"""A daemon as a process of its own: started, watched, killed, ended by its id."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

DEADLINE_S = 120.0


class DaemonProcess:
    """``edge-rnn run`` (or another ``module``'s) with these arguments; its standard error goes to ``log``. Killed at the latest by ``close``."""

    def __init__(
        self,
        arguments: Sequence[str],
        log: Path,
        environment: dict[str, str] | None = None,
        module: str = "edge_rnn.cli",
    ) -> None:
        self.log = log
        self._file = log.open("ab")
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, "run", *arguments],
            stdout=self._file,
            stderr=self._file,
            env={**os.environ, **(environment or {})},
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def alive(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self._process.kill()
        self._process.wait(DEADLINE_S)

    def stop(self) -> int:
        """SIGTERM; returns the exit status."""
        self._process.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        return self._process.wait(DEADLINE_S)

    def peak_memory_bytes(self) -> int:
        """The most memory that was resident so far."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))

    def text(self) -> str:
        return self.log.read_text()

    def close(self) -> None:
        if self.alive():
            self.kill()
        self._file.close()


def wait_for(
    condition: Callable[[], bool], what: str | Callable[[], str], deadline_s: float = DEADLINE_S, every_s: float = 0.05
) -> None:
    """Look again and again until ``condition`` holds; fails naming ``what`` after the deadline."""
    end = time.monotonic() + deadline_s
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"not within {deadline_s} s: {what if isinstance(what, str) else what()}")
        time.sleep(every_s)
