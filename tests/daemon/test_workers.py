"""Several workers of one call: each its part of the partitions, one end for all."""

from __future__ import annotations

import json
import os
import signal

import numpy as np

from runtime.daemon.settings import RunSettings
from runtime.daemon.workers import worker_arguments
from tests.daemon.conftest import PARTITIONS
from tests.daemon.processes import DaemonProcess, wait_for
from tests.oracle import Oracle

STREAMS = 16


def pids(daemon: DaemonProcess) -> list[int]:
    lines = [json.loads(line) for line in daemon.text().splitlines() if line.startswith("{")]
    return next((line["pids"] for line in lines if line.get("event") == "workers started"), [])


def test_workers_share_the_partitions_and_drain_together(kafka_place, bundle):
    place = kafka_place
    rows = np.random.default_rng(0).standard_normal((40, 3)).astype("<f4")
    arguments = place.arguments(bundle, "--workers", "2", "--instance", "w", "--log-format", "json")
    daemon = DaemonProcess(arguments, place.folder / "log")
    try:
        wait_for(lambda: daemon.text().count('"partition ready"') >= PARTITIONS, daemon.text)
        for row in rows:
            place.feed([(s % PARTITIONS, b"s%d" % s, row.tobytes()) for s in range(STREAMS)])
        wait_for(lambda: len(place.read()) == len(rows) * STREAMS, lambda: daemon.text()[-2000:])
        assert daemon.stop() == 0, daemon.text()
    finally:
        daemon.close()
    assert daemon.text().count('"drained and committed"') == 2
    lines = [json.loads(line) for line in daemon.text().splitlines() if '"partitions assigned"' in line]
    assert len({tuple(line["partitions"]) for line in lines}) >= 2
    oracle = Oracle(bundle.path)
    expected = [oracle.step("s", row).tobytes() for row in rows]
    outputs = place.read()
    for stream in range(STREAMS):
        mine = [v for k, v in zip(outputs.keys, outputs.values, strict=True) if k == b"s%d" % stream]
        assert mine == expected


def test_worker_that_is_killed_ends_the_others_and_tells(kafka_place, bundle):
    place = kafka_place
    daemon = DaemonProcess(
        place.arguments(bundle, "--workers", "2", "--instance", "w", "--log-format", "json"), place.folder / "log"
    )
    try:
        wait_for(lambda: daemon.text().count('"partition ready"') >= PARTITIONS, daemon.text)
        os.kill(pids(daemon)[0], signal.SIGKILL)
        assert daemon.wait() == 1, daemon.text()
    finally:
        daemon.close()
    assert '"a worker ended by itself; the others are stopped"' in daemon.text()
    assert '"drained and committed"' in daemon.text()


def test_workers_drain_when_the_process_that_started_them_is_killed(kafka_place, bundle):
    place = kafka_place
    daemon = DaemonProcess(
        place.arguments(bundle, "--workers", "2", "--instance", "w", "--log-format", "json"), place.folder / "log"
    )
    try:
        wait_for(lambda: daemon.text().count('"partition ready"') >= PARTITIONS, daemon.text)
        daemon.kill()
        wait_for(lambda: daemon.text().count('"drained and committed"') == 2, daemon.text)
    finally:
        daemon.close()


def test_workers_of_an_embedded_store_are_refused(embedded, bundle):
    daemon = DaemonProcess(embedded.arguments(bundle, "--workers", "2"), embedded.folder / "log")
    try:
        assert daemon.wait() == 2
    finally:
        daemon.close()
    assert "an embedded store has one daemon a group" in daemon.text()


def test_worker_gets_a_name_a_port_and_its_share_of_the_cores():
    settings = RunSettings(input="in", output="out", workers=3, instance="a", http="0.0.0.0:9100")
    assert worker_arguments(settings, 2, cores=16) == (
        ["--workers", "1", "--instance", "a-2", "--threads", "5", "--http", "0.0.0.0:9102"]
    )
    assert worker_arguments(RunSettings(input="in", output="out", workers=2, threads=4), 1, 2) == ["--workers", "1"]
