"""Deterministic input at a steady rate: the same seed and settings write the same records in the same order."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from confluent_kafka import Producer

from tests.chaos.reading import Silent
from tests.chaos.records import FEATURES, PARTITIONS, ROW_BYTES

EPOCH_MS = 1_700_000_000_000
TICK_S = 0.02
FLUSH_S = 120.0

Fed = tuple[int, int, bytes, bytes | None]
"""Partition, timestamp, key, value."""


@dataclass(frozen=True, slots=True)
class Diet:
    """What is fed. A tenth of the streams gets half of the records; now and then one ends, or is given poison."""

    seed: int
    streams: int = 40
    most_rows: int = 4
    tombstones: float = 0.005
    poison: float = 0.002


def records(diet: Diet) -> Iterator[Fed]:
    """Without end. Each record has a timestamp of its own, which names it."""
    rng = np.random.default_rng(diet.seed)
    busy = max(1, diet.streams // 10)
    for number in range(1 << 40):
        lot, stream = rng.random(), int(rng.integers(busy if rng.random() < 0.5 else diet.streams))
        rows = rng.standard_normal((int(rng.integers(1, diet.most_rows + 1)), FEATURES))
        value: bytes | None = rows.astype("<f4").tobytes()
        if lot < diet.tombstones:
            value = None
        elif lot < diet.tombstones + diet.poison:
            value = bytes(rng.integers(0, 256, int(rng.integers(1, ROW_BYTES)), np.uint8))
        yield stream % PARTITIONS, EPOCH_MS + number, b"stream-%d" % stream, value


class Sink(Protocol):
    """Where records go: in order within a partition, each of them once, whatever happens to the broker."""

    def write(self, batch: Sequence[Fed]) -> None: ...

    def finish(self) -> None: ...


class KafkaSink:
    """An idempotent producer that waits for a broker as long as it takes."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._topic = topic
        self._errors: list[str] = []
        self._producer: Any = Producer(
            {
                "bootstrap.servers": bootstrap,
                "enable.idempotence": True,
                "acks": "all",
                "linger.ms": 5,
                "delivery.timeout.ms": 900_000,
                "reconnect.backoff.max.ms": 500,
                "metadata.recovery.strategy": "none",
            },
            logger=Silent(),
        )

    def write(self, batch: Sequence[Fed]) -> None:
        for partition, stamp, key, value in batch:
            while True:
                try:
                    self._producer.produce(
                        self._topic, value, key, partition, on_delivery=self._delivered, timestamp=stamp
                    )
                    break
                except BufferError:
                    self._producer.poll(0.1)
        self._producer.poll(0)
        if self._errors:
            raise RuntimeError(f"the feeder lost its own records: {self._errors[0]}")

    def _delivered(self, error: object, _message: object) -> None:
        if error is not None:
            self._errors.append(str(error))

    def finish(self) -> None:
        left = self._producer.flush(FLUSH_S)
        if left or self._errors:
            raise RuntimeError(f"{left} input records could not be written: {self._errors[:1]}")


class SqliteSink:
    """A writer elsewhere, as the published schema tells it to be; a full disk is waited for."""

    def __init__(self, path: Path, topic: str) -> None:
        self._store = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
        self._store.execute("PRAGMA synchronous = FULL")
        self._topic = self._store.execute("SELECT id FROM topics WHERE name = ?", (topic,)).fetchone()[0]

    def write(self, batch: Sequence[Fed]) -> None:
        deadline = time.monotonic() + FLUSH_S
        while True:
            try:
                self._write(batch)
                return
            except sqlite3.OperationalError:  # full or busy: nothing of it was written
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
            finally:
                if self._store.in_transaction:
                    self._store.execute("ROLLBACK")

    def _write(self, batch: Sequence[Fed]) -> None:
        self._store.execute("BEGIN IMMEDIATE")
        now = time.time_ns() // 1_000_000
        for partition, stamp, key, value in batch:
            offset = self._store.execute(
                "UPDATE partitions SET next_offset = next_offset + 1, bytes = bytes + ?"
                " WHERE topic = ? AND partition = ? RETURNING next_offset - 1",
                (len(key) + len(value or b""), self._topic, partition),
            ).fetchall()[0][0]
            self._store.execute(
                "INSERT INTO records VALUES (?, ?, ?, ?, ?, ?, ?, NULL)",
                (self._topic, partition, offset, stamp, now, key, value),
            )
        self._store.execute("COMMIT")

    def finish(self) -> None:
        self._store.close()


class Feeder:
    """Writes on a thread of its own from `start` to `finish`."""

    def __init__(self, sink: Sink, diet: Diet, rate: float) -> None:
        self._sink = sink
        self._records = records(diet)
        self._rate = rate
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="chaos-feeder")
        self.error: BaseException | None = None
        self.fed = 0

    def start(self) -> None:
        self._thread.start()

    def _run(self) -> None:
        try:
            began = time.monotonic()
            while not self._stop.wait(TICK_S):
                due = min(2000, int((time.monotonic() - began) * self._rate) - self.fed)
                if due > 0:
                    self._sink.write([next(self._records) for _ in range(due)])
                    self.fed += due
            self._sink.finish()
        except BaseException as error:
            self.error = error

    def finish(self) -> int:
        """Stop, wait until all is written; the number of records. Raises what went wrong."""
        self.stop()
        if self.error is not None:
            raise self.error
        return self.fed

    def stop(self) -> None:
        """Stop and wait, whatever went wrong."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(2 * FLUSH_S)
