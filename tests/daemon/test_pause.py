"""How long nobody answers while a shadow takes over, seen from outside; beside a daemon that is stopped and started."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest
from kafka import KafkaConsumer

from tests.daemon.conftest import PARTITIONS, Place
from tests.daemon.processes import DaemonProcess, wait_for
from tests.daemon.test_shadow import shadow_arguments
from tests.kafka.broker import free_port
from tests.models_for_tests import make_bundle

pytestmark = pytest.mark.slow

EVERY_S = 0.01
ASK = (sys.executable, "-m", "deploy.device.http")
ROUNDS = 3
SETTLED_S = 1.0
LIVE = ("--instance", "live", "--on-new-model", "reset", "--log-format", "json")


class Watch:
    """Writes a record to each partition every 10 ms, and notes when each is answered."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._writer = place.again()
        self._full, self._stop = threading.Event(), threading.Event()
        self.sent = 0
        self.answers: list[list[tuple[float, bytes]]] = [[] for _ in range(PARTITIONS)]
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._write, self._read)]
        for thread in self._threads:
            thread.start()

    def _write(self) -> None:
        value = np.zeros((1, 3), np.float32).tobytes()
        while not self._full.wait(EVERY_S):
            key = b"%d" % self.sent
            self._writer.feed([(partition, key, value) for partition in range(PARTITIONS)])
            self.sent += 1

    def _read(self) -> None:
        consumer = KafkaConsumer(
            self._place.topic("out"),
            bootstrap_servers=self._place.url,
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            fetch_max_wait_ms=20,
        )
        while not self._stop.is_set():
            for place, records in consumer.poll(timeout_ms=20).items():
                now = time.monotonic()
                self.answers[place.partition] += [(now, record.key) for record in records]
        consumer.close()

    def longest_s(self, since: float) -> float:
        """The longest time without an answer of a partition, up to now."""
        now, longest = time.monotonic(), 0.0
        for answers in self.answers:
            times = [at for at, _ in list(answers) if at >= since]
            longest = max(longest, *np.diff([since, *times, now]))
        return float(longest)

    def write_no_more(self) -> None:
        self._full.set()
        self._threads[0].join()

    def stop(self) -> None:
        self.write_no_more()
        self._stop.set()
        self._threads[1].join()
        self._writer.broker.close()

    def complete(self) -> bool:
        return all(len(answers) >= self.sent for answers in self.answers)


def observed(process: DaemonProcess) -> int:
    """The port that a daemon says it has opened."""
    found: list[int] = []

    def look() -> bool:
        found.extend(json.loads(line)["port"] for line in process.text().splitlines() if '"observing"' in line)
        return bool(found)

    wait_for(look, lambda: f"a port; {process.text()[-2000:]}")
    return found[0]


def test_promotion_pauses_a_partition_for_less_time_than_a_restart_and_loses_nothing(kafka_place, tmp_path):
    place, one = kafka_place, make_bundle(tmp_path / "one", seed=1)
    port = free_port()
    live_arguments = place.arguments(one, *LIVE, "--http", f"127.0.0.1:{port}")
    processes = [DaemonProcess(live_arguments, place.folder / "live.log")]
    watch = Watch(place)

    def start_shadow() -> tuple[DaemonProcess, int]:
        path = place.folder / f"shadow-{len(processes)}.log"
        shadow = DaemonProcess(shadow_arguments(place, one, *LIVE), path)
        processes.append(shadow)
        shadow_port = observed(shadow)
        ready(shadow)
        return shadow, shadow_port

    def promote(live: DaemonProcess, shadow: DaemonProcess, shadow_port: int) -> None:
        asking = subprocess.Popen(
            [*ASK, "POST", str(shadow_port), "/promote", "--once-closed", str(port)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert asking.stdout is not None
        assert asking.stdout.readline() == "waiting\n"
        began = time.monotonic()
        assert live.stop() == 0, live.text()[-2000:]
        stopped = time.monotonic()
        said = asking.communicate(timeout=60)[0]
        assert said.startswith("200\n"), said + shadow.text()[-3000:]
        print(f"old daemon stopped in {stopped - began:.3f} s, then {said.splitlines()[1]}", flush=True)
        time.sleep(SETTLED_S)

    def restart(member: DaemonProcess) -> None:
        assert member.stop() == 0, member.text()[-2000:]
        again = DaemonProcess(live_arguments, place.folder / f"live-{len(processes)}.log")
        processes.append(again)
        ready(again)
        time.sleep(SETTLED_S)

    promoted, restarted = [], []
    try:
        answered = lambda: min(len(answers) for answers in watch.answers)  # noqa: E731
        wait_for(lambda: answered() > 100, lambda: f"first answers; {processes[0].text()[-2000:]}")
        usual = spell(watch, lambda: time.sleep(2))
        for _ in range(ROUNDS):
            live = processes[-1]
            shadow, shadow_port = start_shadow()
            promoted.append(spell(watch, lambda: promote(live, shadow, shadow_port)))  # noqa: B023
            restarted.append(spell(watch, lambda: restart(shadow)))  # noqa: B023
        watch.write_no_more()
        wait_for(watch.complete, lambda: f"{watch.sent} answers: {[len(each) for each in watch.answers]}")
    finally:
        watch.stop()
        for process in processes:
            process.close()
    expected = [b"%d" % number for number in range(watch.sent)]
    for answers in watch.answers:
        assert [key for _, key in answers] == expected
    print(
        f"{place.client}: longest time without an answer: {usual:.3f} s before, {told(promoted)} s while a shadow took"
        f" over, {told(restarted)} s with a restart; {watch.sent * PARTITIONS} records, 0 lost, 0 doubled",
        flush=True,
    )
    assert min(promoted) < min(restarted)  # what else the machine does only adds to either


def ready(process: DaemonProcess) -> None:
    """Wait until a daemon serves its partitions, all of them: before that a shadow cannot be promoted."""
    wait_for(lambda: process.text().count('"partition ready"') >= PARTITIONS, lambda: process.text()[-2000:])


def spell(watch: Watch, work: Callable[[], None]) -> float:
    """The longest time without an answer while ``work`` went on, in seconds."""
    began = time.monotonic()
    work()
    return watch.longest_s(began)


def told(seconds: list[float]) -> str:
    return ", ".join(f"{each:.3f}" for each in seconds)
