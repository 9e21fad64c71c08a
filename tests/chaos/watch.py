"""Outputs as they arrive, by partition: whether the system lives, and how long it was silent."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

from confluent_kafka import KafkaException, TopicPartition

from tests.chaos.reading import make_consumer
from tests.chaos.records import PARTITIONS

LOOK_S = 0.02


class Watcher:
    """Notes when outputs become visible to a committed reader, on a thread of its own."""

    def __init__(self, watch: Callable[[Watcher], None]) -> None:
        self.stopping = threading.Event()
        self.count = 0
        self.times: list[list[float]] = [[] for _ in range(PARTITIONS)]
        self._watch = watch
        self._thread = threading.Thread(target=self._run, name="chaos-watcher")
        self.error: BaseException | None = None
        self._thread.start()

    def _run(self) -> None:
        try:
            self._watch(self)
        except BaseException as error:
            self.error = error

    def note(self, partition: int, many: int) -> None:
        """``many`` outputs of a partition have just been seen."""
        self.count += many
        self.times[partition].append(time.monotonic())

    def alive_since(self, moment: float) -> bool:
        """Whether every partition has given an output after ``moment``."""
        return all(times and times[-1] > moment for times in self.times)

    def longest_gap_s(self, begin: float, end: float) -> float:
        """The longest time between ``begin`` and ``end`` in which some partition gave nothing."""
        longest = 0.0
        for times in self.times:
            moments = [begin, *(moment for moment in times if begin < moment < end), end]
            longest = max(longest, *(after - before for before, after in pairwise(moments)))
        return longest

    def close(self) -> None:
        self.stopping.set()
        self._thread.join(30)


def watch_kafka(bootstrap: str, topic: str) -> Watcher:
    """Watch a topic, read committed."""

    def watch(watcher: Watcher) -> None:
        reader = make_consumer(bootstrap, "read_committed")
        try:
            reader.assign([TopicPartition(topic, partition, 0) for partition in range(PARTITIONS)])
            while not watcher.stopping.is_set():
                try:
                    found = reader.consume(5000, 0.05)
                except KafkaException:
                    continue
                counts: dict[int, int] = {}
                for message in found:
                    if message.error() is None:
                        counts[message.partition()] = counts.get(message.partition(), 0) + 1
                for partition, many in counts.items():
                    watcher.note(partition, many)
        finally:
            reader.close()

    return Watcher(watch)


def watch_sqlite(path: Path, topic: str) -> Watcher:
    """Watch the numbering of a topic of an embedded store."""

    def watch(watcher: Watcher) -> None:
        store = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=20)
        known = [0] * PARTITIONS
        try:
            while not watcher.stopping.wait(LOOK_S):
                try:
                    ends = store.execute(
                        "SELECT p.partition, p.next_offset FROM partitions p JOIN topics t ON t.id = p.topic"
                        " WHERE t.name = ?",
                        (topic,),
                    ).fetchall()
                except sqlite3.OperationalError:  # the disk is full, which is one of the faults
                    continue
                for partition, end in ends:
                    if end > known[partition]:
                        watcher.note(partition, end - known[partition])
                        known[partition] = end
        finally:
            store.close()

    return Watcher(watch)
