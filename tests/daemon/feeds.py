"""What daemon tests feed and wait for, over any transport."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edge_rnn.contract.bundle import Bundle
from runtime.core.batch import Outgoing
from tests.daemon.conftest import PARTITIONS, Place
from tests.daemon.processes import DaemonProcess, wait_for
from tests.oracle import Oracle

EPOCH_MS = 1_700_000_000_000


class Feed:
    """Three features for each of some streams, ``s0`` and so on, one row a stream and second.

    ``time_of`` gives the record time of a second, in seconds.
    """

    def __init__(self, place: Place, streams: int, time_of: Callable[[int], int] = lambda second: second) -> None:
        self.place = place
        self.rows: list[list[np.ndarray]] = [[] for _ in range(streams)]
        self._time_of = time_of
        self._rng = np.random.default_rng(0)

    def more(self, seconds: int) -> None:
        """Write so many further seconds."""
        streams = len(self.rows)
        for _ in range(seconds):
            second = len(self.rows[0])
            for rows in self.rows:
                rows.append(self._rng.standard_normal(3).astype("<f4"))
            self.place.broker.write(
                self.place.topic("in"),
                Outgoing(
                    partitions=np.arange(streams, dtype=np.int32) % PARTITIONS,
                    timestamps=np.full(streams, EPOCH_MS + 1000 * self._time_of(second), np.int64),
                    keys=[b"s%d" % stream for stream in range(streams)],
                    values=[rows[-1].tobytes() for rows in self.rows],
                ),
            )

    def said(self, bundle: Bundle, since: int = 0) -> list[list[np.ndarray]]:
        """What a model says to each stream's rows from second ``since`` on, by a plain loop."""
        oracle = Oracle(bundle.path)
        return [[oracle.step(f"{s}", row) for row in rows[since:]] for s, rows in enumerate(self.rows)]

    def expected(self, bundle: Bundle, since: int = 0) -> list[list[bytes]]:
        """The same as output values."""
        return [[step.tobytes() for step in steps] for steps in self.said(bundle, since)]


def serve_until(place: Place, bundle: Bundle, outputs: int, *more: str, dead: int = 0) -> str:
    """Run a daemon until so many outputs and dead letters are there, and end it in good order; its log."""
    daemon = DaemonProcess(place.arguments(bundle, *more), place.folder / "log")
    try:
        wait_for(
            lambda: len(place.read()) >= outputs and (not dead or len(place.read("dead")) >= dead),
            lambda: f"{outputs} outputs; {daemon.text()}",
        )
        assert daemon.stop() == 0, daemon.text()
    finally:
        daemon.close()
    return daemon.text()
