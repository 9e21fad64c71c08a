"""The daemon itself, as a process of its own, over topics that are full: how fast it commits, and what it costs."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from edge_rnn.contract.errors import EngineError
from runtime.daemon.measure.transport import Place

DEADLINE_S = 120.0
LOOK_S = 0.02


@dataclass(frozen=True, slots=True)
class EndToEnd:
    """From the first partition ready to the last record committed. ``cpu_us``: processor time of the daemon, a record.

    ``start_s``: from the start of its process until it had partitions; ``resident_bytes``: its memory at the end.
    """

    records: int
    events_per_s: float
    cpu_us: float
    start_s: float
    resident_bytes: int


def run_daemon(bundle: Path, place: Place, codec: str, flags: Sequence[str] = ()) -> EndToEnd:
    """Run ``edge-rnn run`` until it has committed every record of the place. Raises `EngineError` with its words."""
    with TemporaryDirectory(prefix="edge-rnn-bench-") as folder:
        log = Path(folder) / "log"
        command = [
            *(sys.executable, "-m", "edge_rnn.cli", "run", str(bundle)),
            *("--input", place.input, "--output", place.output, "--broker", place.broker, "--client", place.client),
            *("--group", place.group, "--codec", codec, "--state-dir", folder, "--leave"),
            *("--http", "127.0.0.1:0", "--log-format", "text", *flags),
        ]
        began = time.time()
        with log.open("wb") as out:
            process = subprocess.Popen(command, stdout=out, stderr=out)
        try:
            return _measure(process, log, place.records, began)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(30)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def _measure(process: subprocess.Popen[bytes], log: Path, records: int, began: float) -> EndToEnd:
    url, ready_at, ready_cpu_s = "", 0.0, 0.0
    deadline = time.monotonic() + DEADLINE_S
    while True:
        text = log.read_text(errors="replace")
        if process.poll() is not None or time.monotonic() > deadline:
            words = " ".join(text.strip().splitlines()[-1:]) or "it said nothing"
            raise EngineError(f"the daemon that was measured did not commit {records} records: {words}")
        port = re.search(r"observing port=(\d+)", text)
        if port and not ready_at and "partition ready" in text:
            url, ready_at, ready_cpu_s = f"http://127.0.0.1:{port[1]}/metrics", time.time(), _cpu_s(process.pid)
        if url and _committed(url) >= records:
            seconds = time.time() - ready_at
            cpu_s = _cpu_s(process.pid) - ready_cpu_s
            resident = _resident_bytes(process.pid)
            return EndToEnd(records, records / seconds, 1e6 * cpu_s / records, ready_at - began, resident)
        time.sleep(LOOK_S)


def _committed(url: str) -> int:
    text = urllib.request.urlopen(url, timeout=10).read().decode()
    found = re.search(r"^edge_rnn_records_committed_total (\S+)", text, re.MULTILINE)
    return int(float(found[1])) if found else 0


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _resident_bytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))
