"""Kill the daemon while it evicts streams: each input has one output, and a stream begins anew only where it was evicted."""

from __future__ import annotations

import random
import threading
import time

import numpy as np

from tests.daemon.processes import DaemonProcess, wait_for
from tests.oracle import Oracle

PARTITIONS, COLD, WRITES, RECORDS, MOST, KILLS = 4, 30, 240, 6, 40, 4


def begun_anew(oracle: Oracle, rows: list[np.ndarray], outputs: list[bytes]) -> int:
    """How often a stream began anew: each output must be the oracle's, from the state before or from none."""
    begun = 0
    for number, (row, output) in enumerate(zip(rows, outputs, strict=True)):
        fresh = oracle.step(("fresh", number), row).tobytes()
        if oracle.step("on", row).tobytes() != output:
            assert output == fresh, f"output {number} is neither of a stream that goes on nor of one that begins"
            oracle.end("on")
            oracle.step("on", row)
            begun += 1
    return begun


def test_outputs_when_killed_while_evicting_are_those_of_streams_that_begin_anew(embedded, bundle, tmp_path):
    """In each partition one stream has every second record: it is hardly ever among those touched least recently."""
    rng = np.random.default_rng(9)
    rows: dict[bytes, list[np.ndarray]] = {}
    writes = []
    for _ in range(WRITES):
        records = []
        for number in range(PARTITIONS * RECORDS):
            partition = number % PARTITIONS
            cold = number // PARTITIONS % 2
            key = b"cold-%d-%d" % (partition, rng.integers(0, COLD)) if cold else b"hot-%d" % partition
            rows.setdefault(key, []).append(rng.standard_normal(3).astype(np.float32))
            records.append((partition, key, rows[key][-1].tobytes()))
        writes.append(records)

    def feed() -> None:
        own = embedded.again()
        for records in writes:
            own.feed(records)
            time.sleep(0.02)  # a steady rate, so that kills hit commits at every stage
        own.broker.close()

    feeder, moments = threading.Thread(target=feed), random.Random(12)
    arguments = embedded.arguments(
        bundle,
        "--max-streams",
        str(MOST),
        "--max-records",
        "24",
        "--commit-interval",
        "20ms",
        "--snapshot-interval",
        "1s",
    )
    daemon = DaemonProcess(arguments, tmp_path / "daemon-0.log")
    try:
        for start in range(1, KILLS + 1):
            wait_for(lambda d=daemon: "partition ready" in d.text(), lambda d=daemon: d.text()[-2000:])
            if start == 1:
                feeder.start()
            time.sleep(moments.uniform(0.1, 0.6))
            assert daemon.alive(), daemon.text()[-2000:]
            daemon.close()
            daemon = DaemonProcess(arguments, tmp_path / f"daemon-{start}.log")
        feeder.join()
        wait_for(lambda: "partition ready" in daemon.text(), lambda: daemon.text()[-2000:])
        wait_for(lambda: len(embedded.read()) >= WRITES * PARTITIONS * RECORDS, lambda: daemon.text()[-2000:])
        assert daemon.stop() == 0, daemon.text()[-2000:]
    finally:
        daemon.close()
        if feeder.is_alive():
            feeder.join()
    batch = embedded.read()
    outputs: dict[bytes, list[bytes]] = {}
    for key, value in zip(batch.keys, batch.values, strict=True):
        outputs.setdefault(key, []).append(value)
    assert outputs.keys() == rows.keys()
    begun = {key: begun_anew(Oracle(bundle.path), rows[key], outputs[key]) for key in rows}
    hot = sum(begun.pop(b"hot-%d" % partition) for partition in range(PARTITIONS))
    assert sum(begun.values()) > COLD
    assert hot < sum(begun.values()) / 10


def test_streams_beyond_the_limit_after_a_restart_are_evicted_and_counted(embedded, bundle, tmp_path):
    value = np.ones(3, "<f4").tobytes()
    embedded.feed([(i % PARTITIONS, b"s%d" % i, value) for i in range(100)])
    daemon = DaemonProcess(embedded.arguments(bundle), tmp_path / "free.log")
    try:
        wait_for(lambda: len(embedded.read()) == 100, lambda: daemon.text()[-2000:])
        assert daemon.stop() == 0
        daemon.close()
        embedded.feed([(0, b"s0", value)])
        daemon = DaemonProcess(embedded.arguments(bundle, "--max-streams", "10"), tmp_path / "limited.log")
        wait_for(lambda: len(embedded.read()) == 101, lambda: daemon.text()[-2000:])
        embedded.feed([(i % PARTITIONS, b"s%d" % i, value) for i in range(100)])
        wait_for(lambda: len(embedded.read()) == 201, lambda: daemon.text()[-2000:])
        assert daemon.stop() == 0
    finally:
        daemon.close()
    oracle = Oracle(bundle.path)
    first, second, third = (oracle.step("s", np.ones(3, np.float32)).tobytes() for _ in range(3))
    batch = embedded.read()
    outputs: dict[bytes, list[bytes]] = {}
    for key, output in zip(batch.keys, batch.values, strict=True):
        outputs.setdefault(key, []).append(output)
    assert outputs.pop(b"s0") in ([first, second, third], [first, second, first])
    assert set(map(tuple, outputs.values())) <= {(first, first), (first, second)}
    assert list(outputs.values()).count([first, first]) >= 89
