"""The watcher: reads the output topic again and again and notes when each record was first seen."""

from __future__ import annotations

import time
from collections.abc import Callable

from edge_rnn.demo.records import Seen, decode_output
from edge_rnn.demo.worker import Worker
from runtime.transports.protocol import Broker

LOOK_EVERY_S = 0.05
OPEN_TRANSACTION_S = 0.3
"""How long a look waits for a transaction that is still open, such as the one of a daemon that was killed."""


class Watcher(Worker):
    """Sees every committed output once. ``seen`` grows as it goes."""

    def __init__(self, topic: str, began_s: float, connect: Callable[[], Broker]) -> None:
        """``began_s`` is the moment that counts as zero, by `time.monotonic`."""
        super().__init__("watcher", connect)
        self.seen = Seen()
        self._topic = topic
        self._began_s = began_s
        self._next: dict[int, int] = {}
        self._looks = 0
        self._last_look_s = 0.0

    @property
    def look_s(self) -> float:
        """Seconds from one look to the next, on average so far."""
        return self._last_look_s / max(1, self._looks)

    def look_again(self, timeout_s: float = 20.0) -> None:
        """Return once a look has ended that began after this call: all that was committed before is then seen."""
        wanted = self._looks + 2  # the look in progress may have begun before
        deadline = time.monotonic() + timeout_s
        while self._looks < wanted and time.monotonic() < deadline and not self.is_done:
            time.sleep(LOOK_EVERY_S / 5)

    def _work(self, broker: Broker) -> None:
        while not self._stop.is_set():
            self._look(broker)
            self._looks += 1
            self._stop.wait(LOOK_EVERY_S)

    def _look(self, broker: Broker) -> None:
        batch = broker.read(self._topic, start=self._next, timeout_s=OPEN_TRANSACTION_S)
        at_s = self._last_look_s = time.monotonic() - self._began_s
        for partition, offset in zip(batch.partitions.tolist(), batch.offsets.tolist(), strict=True):
            self._next[partition] = max(offset + 1, self._next.get(partition, 0))
        seen = self.seen
        seen.keys += [(key or b"").decode(errors="replace") for key in batch.keys]
        seen.timestamps_ms += batch.timestamps.tolist()
        seen.values += [decode_output(value) for value in batch.values]
        seen.at_s += [at_s] * len(batch)
