"""Bounded memory: no library that is not needed, and a long backlog is taken in pieces, whatever its length."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.daemon.processes import DaemonProcess, wait_for

STEPS = 200
"""Steps a record."""

QUEUES_BYTES = 48 << 20
"""What may be on the way: 16 MiB read ahead, 16 MiB sent and not yet acknowledged, a fetch and a poll between them."""

NOT_NEEDED = ("tensorrt", "torch", "cudart", "cublas", "/onnx/", "/scipy/", "matplotlib", "soxr")
"""Parts of the paths of libraries that a daemon on a CPU has no use for; most take more memory than all of it does."""


def test_no_library_is_loaded_that_a_cpu_has_no_use_for(place, bundle, tmp_path):
    place.feed([(0, b"s", np.zeros(3, "<f4").tobytes())])
    daemon = DaemonProcess(place.arguments(bundle, "--device", "auto"), tmp_path / "log")
    try:
        wait_for(lambda: len(place.read()) == 1, lambda: daemon.text()[-2000:])
        mapped = {line.split(maxsplit=5)[-1] for line in Path(f"/proc/{daemon.pid}/maps").read_text().splitlines()}
        assert any("/onnxruntime/" in path for path in mapped)
        assert [path for path in sorted(mapped) if any(name in path for name in NOT_NEEDED)] == []
    finally:
        daemon.close()


@pytest.mark.slow
def test_memory_with_a_backlog_thirty_times_longer_stays_nearly_the_same(place, bundle, tmp_path):
    value = np.zeros(3 * STEPS, "<f4").tobytes()
    peaks = []
    done = 0
    for round_, records in enumerate((1000, 30000)):
        place.feed([(i % 4, b"s%d" % (i % 50), value) for i in range(records)])
        done += records
        daemon = DaemonProcess(place.arguments(bundle, "--max-records", "200"), tmp_path / f"log{round_}")
        try:
            wait_for(lambda n=done: len(place.read()) >= n, lambda d=daemon: d.text()[-2000:], every_s=0.5)
            peaks.append(daemon.peak_memory_bytes())
            assert daemon.stop() == 0
        finally:
            daemon.close()
    backlog_bytes = 30000 * (len(value) + STEPS * 2 * 4)
    assert peaks[1] - peaks[0] < QUEUES_BYTES < backlog_bytes / 2, peaks
