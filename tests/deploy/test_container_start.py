"""From ``podman run`` to ready, as a member that comes back, beside the same daemon without a container.

Times of both go up with what else the machine does, so they are taken in turn and compared.
"""

from __future__ import annotations

import statistics
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from deploy.fleet.settings import to_toml
from runtime.core.batch import Outgoing
from runtime.transports.connect import open_broker
from tests.daemon.processes import DaemonProcess, wait_for
from tests.deploy.imaging import ServiceContainer
from tests.kafka.broker import free_port

pytestmark = [pytest.mark.fleet, pytest.mark.slow, pytest.mark.kafka]

PARTITIONS, STREAMS, RUNS = 4, 1000, 5

BOUND_S = 2.0
"""In a container, on a machine where the daemon alone takes `ALONE_S`."""

ALONE_S = 0.93
"""Without a container, as docs/performance.md has it for kafka-python."""


def answers(port: int, path: str) -> str | None:
    try:
        return str(urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10).read().decode())
    except (urllib.error.URLError, OSError):
        return None


def seconds_until_ready(start: Callable[[], object], port: int, log: Path) -> float:
    began = time.monotonic()
    start()
    wait_for(lambda: answers(port, "/readyz") is not None, lambda: log.read_text()[-3000:], every_s=0.01)
    return time.monotonic() - began


def restored(port: int) -> float:
    lines = (answers(port, "/metrics") or "").splitlines()
    return sum(float(line.split()[1]) for line in lines if line.startswith("edge_rnn_restored_streams_total "))


@pytest.mark.parametrize("client", ["confluent", "kafka-python"])
def test_returning_member_in_a_container_is_ready_in_two_seconds(built, bundle, kafka_broker, tmp_path, client):
    tag = uuid.uuid4().hex[:8]
    broker = open_broker(kafka_broker)
    topics = {"input": f"in-{tag}", "output": f"out-{tag}"}
    for topic in topics.values():
        broker.create_topic(topic, PARTITIONS)
    settings = {"broker": kafka_broker, "client": client, "codec": "f32", "snapshot-interval": "0", **topics}

    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    alone_port, port = free_port(), free_port()
    config = {**settings, "group": f"alone-{tag}", "instance": "alone", "state-dir": str(here)}
    (here / "config.toml").write_text(to_toml({**config, "http": f"127.0.0.1:{alone_port}"}))
    arguments = [str(bundle.path), "--config", str(here / "config.toml")]
    container = ServiceContainer(
        built[0].images[0].id, there, {**settings, "group": f"inside-{tag}", "instance": "inside"}, port
    )
    running: list[DaemonProcess] = []

    def start_alone() -> None:
        running.append(DaemonProcess(arguments, here / "log"))

    def alone() -> float:
        seconds = seconds_until_ready(start_alone, alone_port, here / "log")
        assert running[-1].stop() == 0
        running.pop().close()
        return seconds

    def inside(end: Callable[[], object] = container.stop) -> float:
        seconds = seconds_until_ready(container.start, port, container.log)
        end()
        return seconds

    found: dict[str, list[float]] = {"alone": [], "container": [], "container, restoring": [], "container, killed": []}
    try:
        alone(), inside()  # the group's first join, of which the broker makes all wait
        for _ in range(RUNS):
            found["alone"].append(alone())
            found["container"].append(inside())
        broker.write(
            topics["input"],
            Outgoing(
                np.arange(STREAMS, dtype=np.int32) % PARTITIONS,
                np.full(STREAMS, -1, np.int64),
                [b"s%d" % stream for stream in range(STREAMS)],
                [np.ones(3, "<f4").tobytes()] * STREAMS,
            ),
        )
        container.start()
        wait_for(lambda: len(broker.read(topics["output"])) >= STREAMS, lambda: container.log.read_text()[-3000:])
        container.stop()

        def checked(end: Callable[[], object]) -> Callable[[], None]:
            def check_and_end() -> None:
                assert restored(port) == STREAMS
                end()

            return check_and_end

        for _ in range(RUNS):
            found["container, restoring"].append(inside(checked(container.stop)))
        for _ in range(RUNS):
            found["container, killed"].append(inside(checked(container.kill)))
    finally:
        container.close()
        for process in running:
            process.close()
        broker.close()
    for name, seconds in found.items():
        told = ", ".join(f"{one:.2f}" for one in seconds)
        print(f"\n{client}, {name}: {told}; median {statistics.median(seconds):.2f} s")
    limit_s = BOUND_S * max(1.0, statistics.median(found["alone"]) / ALONE_S)
    for name, seconds in found.items():
        assert statistics.median(seconds) <= limit_s, (name, limit_s)
