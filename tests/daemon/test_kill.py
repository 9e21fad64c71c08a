"""Kill the daemon anywhere and start it again: every input has exactly one output, the right one, in order."""

from __future__ import annotations

import random
import threading
import time

import numpy as np

from runtime.core.batch import RecordBatch
from tests.daemon.conftest import Place
from tests.daemon.processes import DaemonProcess, wait_for
from tests.oracle import Oracle

TOTAL = 40000
STREAMS, WRITES, RECORDS, KILLS = 40, 120, 25, 4


def outputs_by_stream(batch: RecordBatch) -> dict[bytes, list[bytes]]:
    found: dict[bytes, list[bytes]] = {}
    for key, value in zip(batch.keys, batch.values, strict=True):
        found.setdefault(key or b"", []).append(value or b"")
    return found


def killed_again_and_again(
    place, bundle, tmp_path, *more: str, module: str = "edge_rnn.cli"
) -> dict[bytes, list[bytes]]:
    """Feed at a steady rate, kill the daemon now and then; returns what each stream should have as outputs."""
    rng = np.random.default_rng(7)
    oracle = Oracle(bundle.path)
    expected: dict[bytes, list[bytes]] = {}
    writes = []
    for _ in range(WRITES):
        records = []
        for stream in rng.integers(0, STREAMS, RECORDS).tolist():
            key = b"stream-%d" % stream
            rows = rng.standard_normal((int(rng.integers(1, 4)), 3)).astype(np.float32)
            expected.setdefault(key, []).append(oracle.steps(key, rows).tobytes())
            records.append((stream % 4, key, rows.tobytes()))
        writes.append(records)

    def feed() -> None:
        own = place.again()  # a broker serves one thread
        for records in writes:
            own.feed(records)
            time.sleep(0.03)  # a steady rate, so that kills hit commits at every stage
        own.broker.close()

    feeder = threading.Thread(target=feed)
    moments = random.Random(11)
    arguments = place.arguments(bundle, "--commit-interval", "20ms", *more)
    daemon = DaemonProcess(arguments, tmp_path / "daemon-0.log", module=module)
    total = WRITES * RECORDS
    try:
        for start in range(1, KILLS + 1):
            wait_for(lambda d=daemon: "partition ready" in d.text(), f"ready; {daemon.text()[-2000:]}")
            if start == 1:
                feeder.start()
            time.sleep(moments.uniform(0, 0.5))
            assert daemon.alive(), daemon.text()[-2000:]
            daemon.close()
            daemon = DaemonProcess(arguments, tmp_path / f"daemon-{start}.log", module=module)
        feeder.join()
        wait_for(lambda: "partition ready" in daemon.text(), f"the last start; {daemon.text()[-2000:]}")
        wait_for(lambda: len(place.read()) >= total, f"{total} outputs; {daemon.text()[-2000:]}")
        assert daemon.stop() == 0, daemon.text()[-2000:]
    finally:
        daemon.close()
        if feeder.is_alive():
            feeder.join()
    return expected


def test_every_input_has_one_output_when_the_daemon_is_killed_again_and_again(place, bundle, tmp_path):
    expected = killed_again_and_again(place, bundle, tmp_path)
    assert outputs_by_stream(place.read()) == expected


def test_at_least_once_loses_nothing_and_repeats_only_what_it_said(kafka_place, bundle, tmp_path):
    expected = killed_again_and_again(
        kafka_place, bundle, tmp_path, "--delivery", "at-least-once", "--snapshot-interval", "1s"
    )
    wait_for(lambda: _lacking(expected, kafka_place) == 0, lambda: f"{_lacking(expected, kafka_place)} lack")
    for stream, found in outputs_by_stream(kafka_place.read()).items():
        number = {value: index for index, value in enumerate(expected[stream])}
        following = 0
        for value in found:
            assert number[value] <= following, stream  # a value of before, or the next
            following = max(following, number[value] + 1)
        assert following == len(expected[stream])


def _lacking(expected: dict[bytes, list[bytes]], place: Place) -> int:
    found = outputs_by_stream(place.read())
    return sum(len(set(values) - set(found.get(stream, []))) for stream, values in expected.items())


def test_sigterm_under_load_drains_commits_and_ends_with_status_0(place, bundle, tmp_path):
    rng = np.random.default_rng(8)
    rows = rng.standard_normal((TOTAL, 3)).astype(np.float32)
    place.feed([(i % 4, b"s%d" % (i % 100), row.tobytes()) for i, row in enumerate(rows)])
    daemon = DaemonProcess(place.arguments(bundle, "--max-records", "100"), tmp_path / "daemon.log")
    try:
        wait_for(lambda: len(place.read()) > 0, f"a first output; {daemon.text()[-2000:]}")
        assert daemon.stop() == 0, daemon.text()[-2000:]
        done = len(place.read())
        daemon.close()
        assert "stopped" in daemon.text()
        daemon = DaemonProcess(place.arguments(bundle), tmp_path / "second.log")
        wait_for(lambda: "partition ready" in daemon.text(), f"the second start; {daemon.text()[-2000:]}")
        wait_for(lambda: len(place.read()) == TOTAL, f"the rest after {done}; {daemon.text()[-2000:]}")
        assert daemon.stop() == 0
    finally:
        daemon.close()
    assert len(place.read()) == TOTAL
