"""A daemon that stands ready while its input is written in a transaction: the clock begins when that commits.

So it is measured with states that are there already, and again and again in one process.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from confluent_kafka import Producer

from tests.benchmarks.broker_admin import Admin
from tests.benchmarks.check import check_values, read_committed
from tests.benchmarks.measure import DEADLINE_S, LOOK_S, STILL_S
from tests.benchmarks.processes import cpu_seconds, resident_bytes
from tests.benchmarks.watched import WatchedDaemon
from tests.benchmarks.workload import FILLER, PARTITIONS, ROWS, Workload, key_of
from tests.kafka.broker import RunningKafka

TRANSACTION_MS = 600_000


@dataclass(frozen=True, slots=True)
class Fed:
    """What some events took. ``client_us`` and ``broker_us`` are processor time an event.

    ``horizon``: records of a partition that a crash right afterwards would replay.
    """

    events: int
    events_per_s: float
    client_us: float
    broker_us: float
    horizon: float
    snapshots_per_s: float
    commits_per_s: float
    resident_bytes: int


class StandingDaemon:
    """``edge-rnn run`` over topics of its own, as the same member after each `restart`."""

    def __init__(
        self, kafka: RunningKafka, bundle: Path, folder: Path, arguments: Sequence[str], features: int
    ) -> None:
        self._kafka, self._bundle, self._arguments = kafka, bundle, arguments
        tag = uuid.uuid4().hex[:12]
        self.topics, self._group, self._folder = (f"in-{tag}", f"out-{tag}"), f"standing-{tag}", folder / tag
        self._admin = Admin(kafka.bootstrap)
        for topic in self.topics:
            self._admin.create(topic)
        self._values = Workload(1, 0, features=features).values()
        self._features = features
        self._history: list[np.ndarray] = []
        self._producer = Producer(
            FILLER
            | {
                "bootstrap.servers": kafka.bootstrap,
                "transactional.id": f"feeder-{tag}",
                "transaction.timeout.ms": TRANSACTION_MS,
            }
        )
        self._producer.init_transactions()
        self.daemon = self._start()
        self.ready_s = self.daemon.wait_ready()

    def _start(self) -> WatchedDaemon:
        return WatchedDaemon(
            self._bundle, self._kafka.bootstrap, self._folder, self._arguments, self.topics, self._group
        )

    def restart(self, *, kill: bool) -> dict[str, float]:
        """End it, by SIGKILL or in good order, and start it again; seconds and records of what came back."""
        (self.daemon.kill if kill else self.daemon.stop)()
        self.daemon = self._start()
        self.ready_s = self.daemon.wait_ready()
        assigned, restored, ready = (
            self.daemon.lines(words)[-1][0]
            for words in ("partitions assigned", "partition restored", "partition ready")
        )
        return {
            "ready_s": round(self.ready_s, 3),
            "snapshots_s": round(restored - assigned, 3),
            "replay_s": round(ready - restored, 3),
            "restored_streams": self.daemon.metric("restored_streams_total"),
            "replayed_records": self.daemon.metric("replayed_records_total"),
        }

    def feed(self, numbers: np.ndarray) -> Fed:
        """One event for each of these stream numbers, in order."""
        topic, target = self.topics
        before = self._admin.stable_end(target)
        self._producer.begin_transaction()
        send, values = self._producer.produce, self._values
        for begin in range(0, numbers.size, 10_000):
            for index, stream in enumerate(numbers[begin : begin + 10_000].tolist(), begin):
                while True:
                    try:
                        send(topic, values[index % ROWS], b"s%07d" % stream, stream % PARTITIONS)
                        break
                    except BufferError:
                        self._producer.poll(0.05)
            self._producer.poll(0)
        self._producer.flush(120)
        self._history.append(numbers)
        broker, daemon = self._kafka.pid, self.daemon.pid
        assert broker is not None
        spent = cpu_seconds(daemon), cpu_seconds(broker)
        counters = ("snapshots_total", "commits_total")
        counted = [self.daemon.metric(name) for name in counters]
        began = time.time()
        self._producer.commit_transaction(60)
        seconds, client_s, broker_s = self._until_done(began, before, numbers.size, spent)
        n = numbers.size
        snapshots, commits = (self.daemon.metric(name) - then for name, then in zip(counters, counted, strict=True))
        return Fed(
            events=n,
            events_per_s=n / seconds,
            client_us=1e6 * client_s / n,
            broker_us=1e6 * broker_s / n,
            horizon=self.daemon.metric("replay_horizon_records"),
            snapshots_per_s=snapshots / seconds,
            commits_per_s=commits / seconds,
            resident_bytes=resident_bytes(daemon),
        )

    def _until_done(self, began: float, before: int, n: int, spent: tuple[float, float]) -> tuple[float, float, float]:
        """Seconds and processor seconds until the output's stable end has moved for the last time."""
        end, moved, used = before, began, spent
        while True:
            now, found = time.time(), self._admin.stable_end(self.topics[1])
            if found != end:
                assert self._kafka.pid is not None
                end, moved, used = found, time.time(), (cpu_seconds(self.daemon.pid), cpu_seconds(self._kafka.pid))
            if end >= before + n and now - moved > STILL_S:
                return moved - began, used[0] - spent[0], used[1] - spent[1]
            assert now - began < DEADLINE_S, f"{end - before} of {n} outputs; {self.daemon.text[-2000:]}"
            time.sleep(LOOK_S)

    def check(self, sampled: int = 12) -> None:
        """All outputs so far are read back: their number, and the values of some streams. Raises ``AssertionError``."""
        numbers = np.concatenate(self._history)
        places = np.concatenate([np.arange(each.size) % ROWS for each in self._history])
        drawn = np.random.default_rng(3).choice(numbers, sampled)
        sample = {key_of(int(stream)): int(stream) for stream in drawn}
        count, found = read_committed(self._kafka.bootstrap, self.topics[1], set(sample))
        assert count == numbers.size, f"{count} outputs of {numbers.size} events"
        rows = Workload(1, 0, features=self._features).rows()
        for key, stream in sample.items():
            check_values(self._bundle, key, rows[places[numbers == stream]], found[key], json_out=False)

    def close(self) -> None:
        """End it and remove its topics."""
        self.daemon.kill()
        self._admin.delete(*self.topics, f"{self._group}-state")
