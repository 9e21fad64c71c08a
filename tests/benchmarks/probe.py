"""From event to committed output: feeds a topic at a steady rate and times each event.

``python -m tests.benchmarks.probe BROKER IN OUT RATE SECONDS STREAMS FEATURES``, beside a contestant that runs
already. The first two seconds are not counted. Prints percentiles in milliseconds as JSON.
"""

from __future__ import annotations

import json
import sys
import threading
import time
import uuid
from collections import defaultdict, deque

import numpy as np
from confluent_kafka import Consumer, Producer, TopicPartition

from tests.benchmarks.broker_admin import Admin

WARM_S = 2.0
PERCENTILES = (1, 10, 25, 50, 75, 90, 95, 99, 99.9, 100)
LOST_S = 20.0


class Probe:
    """One run. An output belongs to the oldest event of its key that has none yet."""

    def __init__(self, broker: str, source: str, target: str, streams: int) -> None:
        self._broker, self._source, self._target, self._streams = broker, source, target, streams
        self._sent: dict[bytes, deque[tuple[int, float]]] = defaultdict(deque)
        self._latency_s: dict[int, float] = {}
        self._all_sent = threading.Event()

    def run(self, rate: int, seconds: float, features: int) -> dict[str, object]:
        """Percentiles. Raises ``AssertionError`` where an event has no output."""
        n = int(rate * (seconds + WARM_S))
        reader = threading.Thread(target=self._read, args=(n, time.monotonic() + seconds + WARM_S + LOST_S))
        ends = Admin(self._broker).ends(self._target)
        self._places = [TopicPartition(self._target, partition, end) for partition, end in ends.items()]
        reader.start()
        self._feed(n, rate, features)
        reader.join()
        assert len(self._latency_s) == n, f"{len(self._latency_s)} outputs of {n} events"
        first = int(rate * WARM_S)
        counted = 1e3 * np.array([self._latency_s[number] for number in range(first, n)])
        return {
            "events": n - first,
            "rate": rate,
            "ms": {str(p): round(float(np.percentile(counted, p)), 3) for p in PERCENTILES},
        }

    def _feed(self, n: int, rate: int, features: int) -> None:
        producer = Producer({"bootstrap.servers": self._broker, "linger.ms": 0})
        rows = np.random.default_rng(0).standard_normal((1024, features)).astype(np.float32)
        values = [row.tobytes() for row in rows]
        began = time.perf_counter()
        for number in range(n):
            wait = began + number / rate - time.perf_counter()
            if wait > 0:
                time.sleep(wait)
            key = b"l%05d" % (number % self._streams)
            self._sent[key].append((number, time.perf_counter()))
            producer.produce(self._source, values[number & 1023], key)
            producer.poll(0)
        producer.flush(30)

    def _read(self, n: int, deadline: float) -> None:
        consumer = Consumer(
            {
                "bootstrap.servers": self._broker,
                "group.id": uuid.uuid4().hex,
                "isolation.level": "read_committed",
                "fetch.wait.max.ms": 5,
                "enable.auto.commit": False,
            }
        )
        consumer.assign(self._places)
        while len(self._latency_s) < n and time.monotonic() < deadline:
            for message in consumer.consume(500, 0.005):
                waiting = self._sent.get(message.key())
                if waiting:
                    number, sent = waiting.popleft()
                    self._latency_s[number] = time.perf_counter() - sent
        consumer.close()


def main() -> None:
    """Print one run's percentiles."""
    broker, source, target, rate, seconds, streams, features = sys.argv[1:]
    probe = Probe(broker, source, target, int(streams))
    print(json.dumps(probe.run(int(rate), float(seconds), int(features))))


if __name__ == "__main__":
    main()
