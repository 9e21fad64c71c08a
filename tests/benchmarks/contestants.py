"""Who is measured: our daemon and the peers, each a process that reads one topic and writes another."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Protocol

from tests.benchmarks.jvm import JVM_PEERS, jvm_command
from tests.daemon.processes import DaemonProcess

ROOT = Path(__file__).parents[2]
QUIX_PYTHON = Path(os.environ.get("EDGE_RNN_QUIX_PYTHON", ROOT / ".cache" / "quix" / "bin" / "python"))
END_S = 60.0


class Running(Protocol):
    """A contestant at work."""

    @property
    def pid(self) -> int:
        """Its process."""

    def began(self) -> float | None:
        """When it had its first record (ours: when it could have), in seconds since 1970; ``None``: not yet."""

    def check(self) -> None:
        """Raises when it has failed."""

    def log(self) -> str:
        """The end of what it has logged."""

    def stop(self) -> None:
        """End it in good order, after which nothing of it is left."""


class PeerRunning:
    """A peer: it says on standard output when it began, and ends by itself."""

    def __init__(self, command: Sequence[str], folder: tempfile.TemporaryDirectory[str]) -> None:
        self._folder = folder
        self._log = (Path(folder.name) / "log").open("w+")
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=self._log, text=True, env=environment, cwd=folder.name
        )
        self._began: float | None = None
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            if line.startswith('{"began"'):
                self._began = json.loads(line)["began"]

    @property
    def pid(self) -> int:
        return self._process.pid

    def began(self) -> float | None:
        return self._began

    def log(self) -> str:
        return self._text()[-2000:]

    def check(self) -> None:
        # WNOWAIT: one that has ended stays in /proc until `stop`, and so do the figures of what it used.
        ended = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is not None and ended.si_status != 0:
            raise RuntimeError(f"a peer failed with {ended.si_status}: {self.log()}")

    def _text(self) -> str:
        return Path(self._log.name).read_text(errors="replace")

    def stop(self) -> None:
        try:
            self._process.wait(END_S)
        finally:
            self.end()

    def end(self) -> None:
        """End it at once."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._reader.join()
        self._log.close()
        self._folder.cleanup()


class OursRunning:
    """``edge-rnn run`` in a group of its own. Its clock begins when its first partition is served."""

    def __init__(self, bundle: Path, broker: str, source: str, target: str, more: Sequence[str]) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="edge-rnn-bench-")
        self.group = uuid.uuid4().hex
        self._process = DaemonProcess(
            [
                *(str(bundle), "--input", source, "--output", target, "--broker", broker, "--group", self.group),
                *("--state-dir", self._folder.name, "--log-format", "text", *more),
            ],
            Path(self._folder.name) / "log",
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def began(self) -> float | None:
        found = re.search(r"^(\S+) .*partition ready", self._process.text(), re.MULTILINE)
        return datetime.fromisoformat(found[1]).timestamp() if found else None

    def log(self) -> str:
        return self._process.text()[-2000:]

    def check(self) -> None:
        if not self._process.alive():
            raise RuntimeError(f"edge-rnn run ended: {self.log()}")

    def stop(self) -> None:
        try:
            status = self._process.stop()
            assert status == 0, self._process.text()[-2000:]
        finally:
            self._process.close()
            self._folder.cleanup()


def start(name: str, bundle: Path, broker: str, source: str, target: str, n: int, codec: str) -> Running:
    """Start a contestant by its name: ``ours ...`` with what follows as flags of the daemon, or a peer."""
    if name.startswith("ours"):
        client, _, flags = name.removeprefix("ours ").partition(" ")
        return OursRunning(bundle, broker, source, target, ["--client", client, "--codec", codec, *flags.split()])
    folder = tempfile.TemporaryDirectory(prefix="edge-rnn-peer-")
    given = [broker, str(bundle / "step.onnx"), source, target, str(n)]
    if name in JVM_PEERS:
        return PeerRunning(jvm_command(name, [*given, f"{folder.name}/{uuid.uuid4().hex}"]), folder)
    python = str(QUIX_PYTHON) if name.startswith("quix") else sys.executable
    return PeerRunning([python, "-m", "tests.benchmarks.peers", name, *given], folder)
