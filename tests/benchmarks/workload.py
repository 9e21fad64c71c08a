"""Input topics: how many events, of which streams, written how; each made once and read by all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import orjson
from confluent_kafka import Producer

from tests.benchmarks.broker_admin import Admin

PARTITIONS = 4
ROWS = 4096
"""Different values; event ``i`` has value ``i mod ROWS``."""

Order = Literal["turns", "uniform", "zipf"]


@dataclass(frozen=True, slots=True)
class Workload:
    """``events`` of ``streams`` streams. ``turns``: one after the other; ``uniform``: drawn; ``zipf``: drawn, stream
    ``k`` in proportion to ``1 / (k + 1)``. A value is ``features`` numbers as ``codec`` has them.
    """

    streams: int
    events: int
    order: Order = "turns"
    features: int = 16
    codec: Literal["f32", "json"] = "f32"

    @property
    def topic(self) -> str:
        """The input topic's name."""
        return f"in-{self.streams}-{self.order}-{self.events}-{self.features}-{self.codec}"

    def numbers(self) -> np.ndarray:
        """Which stream each event is of, int64[events]."""
        generator = np.random.default_rng(2)
        if self.order == "turns":
            return np.arange(self.events) % self.streams
        if self.order == "uniform":
            return generator.integers(0, self.streams, self.events)
        ends = np.cumsum(1 / np.arange(1, self.streams + 1))
        return np.searchsorted(ends, generator.random(self.events) * ends[-1], side="right")

    def rows(self) -> np.ndarray:
        """float32[ROWS, features]."""
        return np.random.default_rng(1).standard_normal((ROWS, self.features)).astype(np.float32)

    def values(self) -> list[bytes]:
        """The rows as record values."""
        if self.codec == "json":
            return [orjson.dumps(row, option=orjson.OPT_SERIALIZE_NUMPY) for row in self.rows()]
        return [row.tobytes() for row in self.rows()]


def key_of(stream: int) -> bytes:
    """The record key of a stream."""
    return b"s%07d" % stream


def fill(broker: str, workload: Workload) -> None:
    """Make the workload's topic unless it is there."""
    admin = Admin(broker)
    if admin.create(workload.topic):
        producer = Producer(FILLER | {"bootstrap.servers": broker})
        write(producer, workload.topic, workload)
        assert producer.flush(120) == 0
        producer.close()


def write(producer: Producer, topic: str, workload: Workload) -> None:
    """Queue all events; a stream's partition goes by its number."""
    values, numbers = workload.values(), workload.numbers()
    send = producer.produce
    for begin in range(0, workload.events, 10_000):
        for index, stream in enumerate(numbers[begin : begin + 10_000].tolist(), begin):
            while True:
                try:
                    send(topic, values[index % ROWS], b"s%07d" % stream, stream % PARTITIONS)
                    break
                except BufferError:
                    producer.poll(0.05)
        producer.poll(0)


FILLER: dict[str, object] = {"linger.ms": 50, "queue.buffering.max.messages": 1_000_000, "compression.type": "none"}
