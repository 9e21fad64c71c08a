"""The feed: the held-out sequences as live streams, a record a step, all streams at the same time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from edge_rnn.demo.records import Sent, encode_row
from edge_rnn.demo.worker import Worker
from runtime.core.batch import BY_KEY, Outgoing
from runtime.transports.protocol import Broker

TICK_S = 0.025
"""How often what is due is written."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to feed: ``keys`` name the streams, ``rows`` holds float32[step, feature] of each, in order of ``features``."""

    keys: tuple[str, ...]
    features: tuple[str, ...]
    rows: tuple[np.ndarray, ...]

    def __len__(self) -> int:
        return sum(len(rows) for rows in self.rows)

    def order(self) -> list[tuple[int, int]]:
        """Stream and step of every record, interleaved: the first step of each stream, the second of each, and so on."""
        longest = max((len(rows) for rows in self.rows), default=0)
        return [(stream, step) for step in range(longest) for stream, rows in enumerate(self.rows) if step < len(rows)]


class Feeder(Worker):
    """Writes the plan at an even pace, whatever happens to the daemon. ``sent`` grows as it goes."""

    def __init__(
        self, plan: Plan, topic: str, records_per_s: float, began_s: float, connect: Callable[[], Broker]
    ) -> None:
        """``began_s`` is the moment that counts as zero, by `time.monotonic`."""
        super().__init__("feeder", connect)
        self.sent = Sent()
        self._plan = plan
        self._topic = topic
        self._records_per_s = records_per_s
        self._began_s = began_s

    def _work(self, broker: Broker) -> None:
        order = self._plan.order()
        last_ms = [0] * len(self._plan.keys)
        started = time.monotonic()
        done = 0
        while done < len(order) and not self._stop.is_set():
            due = min(len(order), int((time.monotonic() - started) * self._records_per_s) + 1)
            if due > done:
                self._write(broker, order[done:due], last_ms)
                done = due
            self._stop.wait(TICK_S)

    def _write(self, broker: Broker, places: Sequence[tuple[int, int]], last_ms: list[int]) -> None:
        """Write some records, stamped with now, or a millisecond after the stream's last where that is later."""
        plan, sent = self._plan, self.sent
        now_ms = int(time.time() * 1000)
        at_s = time.monotonic() - self._began_s
        timestamps_ms: list[int] = []
        for stream, _ in places:
            last_ms[stream] = max(now_ms, last_ms[stream] + 1)
            timestamps_ms.append(last_ms[stream])
        records = Outgoing(
            partitions=np.full(len(places), BY_KEY, np.int32),
            timestamps=np.array(timestamps_ms, np.int64),
            keys=[plan.keys[stream].encode() for stream, _ in places],
            values=[encode_row(plan.features, plan.rows[stream][step]) for stream, step in places],
        )
        broker.write(self._topic, records)
        sent.streams += [stream for stream, _ in places]
        sent.steps += [step for _, step in places]
        sent.timestamps_ms += timestamps_ms
        sent.at_s += [at_s] * len(places)
