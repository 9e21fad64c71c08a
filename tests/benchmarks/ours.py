"""Our daemon measured from outside: from its first partition served to the last record committed."""

from __future__ import annotations

import re
import tempfile
import time
import urllib.request
import uuid
from datetime import datetime
from pathlib import Path

from tests.daemon.processes import DaemonProcess, wait_for


def run_ours(bundle: Path, broker: str, source: str, target: str, n: int, *more: str) -> float:
    """Seconds for ``n`` records; the group is new, so its first join's delay is before the clock starts."""
    with tempfile.TemporaryDirectory() as folder:
        daemon = DaemonProcess(
            [
                *(str(bundle), "--input", source, "--output", target, "--broker", broker),
                *("--group", uuid.uuid4().hex, "--codec", "f32", "--state-dir", folder),
                *("--http", "127.0.0.1:0", "--log-format", "text", *more),
            ],
            Path(folder) / "log",
        )
        try:
            wait_for(lambda: "partition ready" in daemon.text(), f"ready; {daemon.text()[-1000:]}")
            began = _first_ready(daemon.text())
            found = re.search(r"observing port=(\d+)", daemon.text())
            assert found
            url = f"http://127.0.0.1:{found[1]}/metrics"
            wait_for(lambda: _committed(url) >= n, f"{n} records; {daemon.text()[-1000:]}", 300, 0.05)
            seconds = time.time() - began
            assert daemon.stop() == 0, daemon.text()[-1000:]
        finally:
            daemon.close()
    return seconds


def _first_ready(text: str) -> float:
    line = next(line for line in text.splitlines() if "partition ready" in line)
    return datetime.fromisoformat(line.split()[0]).timestamp()


def _committed(url: str) -> int:
    """Records in, once no epoch is open any more: the lag is 0 and the last commit holds them all."""
    text = urllib.request.urlopen(url, timeout=10).read().decode()
    found = re.search(r"^edge_rnn_records_committed_total (\S+)", text, re.MULTILINE)
    return int(float(found[1])) if found else 0
