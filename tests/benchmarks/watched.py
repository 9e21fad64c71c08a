"""A daemon under measurement: started with an instance name and a state folder of its own, read by its log and metrics."""

from __future__ import annotations

import re
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import numpy as np

from runtime.core.batch import Outgoing
from runtime.transports.protocol import Broker
from tests.daemon.processes import DaemonProcess, wait_for

PARTITIONS, FEATURES, DEADLINE_S = 4, 16, 900.0


class WatchedDaemon:
    """``edge-rnn run`` as the same member each time; seconds of its log lines count from the start of its process."""

    def __init__(
        self,
        bundle: Path,
        broker: str,
        folder: Path,
        arguments: Sequence[str],
        topics: tuple[str, str] = ("in", "out"),
        group: str = "bench",
    ) -> None:
        """``topics`` are its input and output."""
        folder.mkdir(exist_ok=True)
        self._began = time.time()
        self._process = DaemonProcess(
            [
                *(str(bundle), "--input", topics[0], "--output", topics[1], "--broker", broker, "--group", group),
                *("--codec", "f32", "--state-dir", str(folder), "--http", "127.0.0.1:0", "--log-format", "text"),
                *arguments,
            ],
            folder / f"log-{time.time_ns()}",
        )

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    @property
    def text(self) -> str:
        """All that it logged."""
        return self._process.text()

    def lines(self, words: str) -> list[tuple[float, str]]:
        """Its log lines with these words, and when."""
        found = [line for line in self.text.splitlines() if words in line]
        return [(datetime.fromisoformat(line.split()[0]).timestamp() - self._began, line) for line in found]

    def wait_ready(self) -> float:
        """Wait until ``/readyz`` says so; seconds since the process began."""
        wait_for(lambda: bool(self.lines("observing")), lambda: self.text[-2000:], every_s=0.01)
        wait_for(lambda: self._get("/readyz") is not None, lambda: self.text[-2000:], DEADLINE_S, 0.01)
        return time.time() - self._began

    def metric(self, name: str) -> float:
        """The value of a metric, 0 before it has one."""
        text = self._get("/metrics") or ""
        found = re.search(rf"^edge_rnn_{name} (\S+)", text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    def wait_committed(self, records: int) -> float:
        """Wait until so many records are committed; seconds since the process began."""
        wait_for(lambda: self.metric("records_committed_total") >= records, lambda: self.text[-2000:], DEADLINE_S, 0.02)
        return time.time() - self._began

    def _get(self, path: str) -> str | None:
        port = re.search(r"observing port=(\d+)", self.text)
        assert port
        try:
            return str(urllib.request.urlopen(f"http://127.0.0.1:{port[1]}{path}", timeout=10).read().decode())
        except (urllib.error.URLError, OSError):
            assert self._process.alive(), self.text[-2000:]
            return None

    def peak_memory_bytes(self) -> int:
        """The most memory that was resident so far."""
        return self._process.peak_memory_bytes()

    def kill(self) -> None:
        """SIGKILL."""
        self._process.close()

    def stop(self) -> None:
        """SIGTERM, and wait for its end."""
        status = self._process.stop()
        assert status == 0, self.text[-2000:]
        self._process.close()


def write_events(broker: Broker, streams: np.ndarray, values: Sequence[bytes]) -> None:
    """One event for each of these stream numbers, in order; a stream's partition goes by its number."""
    for begin in range(0, streams.size, 50_000):
        numbers = streams[begin : begin + 50_000]
        broker.write(
            "in",
            Outgoing(
                partitions=(numbers % PARTITIONS).astype(np.int32),
                timestamps=np.full(numbers.size, -1, np.int64),
                keys=[b"s%07d" % number for number in numbers.tolist()],
                values=[values[number % len(values)] for number in numbers.tolist()],
            ),
        )


def event_values() -> list[bytes]:
    """Values of 16 float32."""
    return [row.tobytes() for row in np.random.default_rng(1).standard_normal((4096, FEATURES)).astype(np.float32)]
