"""A broker that is away for longer than any of the clients' limits: both daemons wait, go on, and end when told to."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from runtime.transports.connect import open_broker
from tests.daemon.conftest import PARTITIONS, Place
from tests.daemon.processes import DaemonProcess, wait_for
from tests.kafka.broker import RunningKafka
from tests.oracle import Oracle

AWAY_S = 30.0
STREAMS, BATCH = 20, 400
STOP_S = 30.0

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def kafka() -> Iterator[RunningKafka]:
    with RunningKafka() as running:
        yield running


def test_daemons_wait_for_a_broker_that_is_long_away_go_on_and_end_in_time(kafka, bundle, tmp_path):
    places = {}
    for client in ("kafka-python", "confluent"):
        folder = tmp_path / client
        folder.mkdir()
        places[client] = Place(
            open_broker(kafka.bootstrap, "confluent"), kafka.bootstrap, client, f"away-{client}", Path(folder)
        )
        for role in ("in", "out", "dead"):
            places[client].broker.create_topic(places[client].topic(role), PARTITIONS)
    rng = np.random.default_rng(3)
    rows = rng.standard_normal((2 * BATCH, 3)).astype("<f4")

    def feed(first: int) -> None:
        for place in places.values():
            place.feed(
                [(i % PARTITIONS, b"s%d" % (i % STREAMS), rows[i].tobytes()) for i in range(first, first + BATCH)]
            )

    daemons = {client: DaemonProcess(place.arguments(bundle), place.folder / "log") for client, place in places.items()}
    try:
        feed(0)
        for client, place in places.items():
            wait_for(lambda p=place: len(p.read()) >= BATCH, lambda c=client: daemons[c].text()[-2000:])
        kafka.kill()
        time.sleep(AWAY_S)
        assert all(daemon.alive() for daemon in daemons.values()), [d.text()[-2000:] for d in daemons.values()]
        kafka.start()
        feed(BATCH)
        for client, place in places.items():
            wait_for(lambda p=place: len(p.read()) >= 2 * BATCH, lambda c=client: daemons[c].text()[-2000:], 90)
        oracle = Oracle(bundle.path)
        expected: dict[bytes, list[bytes]] = {}
        for index, row in enumerate(rows):
            expected.setdefault(b"s%d" % (index % STREAMS), []).append(oracle.step(index % STREAMS, row).tobytes())
        for place in places.values():
            batch, found = place.read(), {}
            for key, value in zip(batch.keys, batch.values, strict=True):
                found.setdefault(key, []).append(value)
            assert found == expected
        kafka.kill()
        time.sleep(2.0)
        began = time.monotonic()
        assert [daemon.stop() for daemon in daemons.values()] == [0, 0], [d.text()[-2000:] for d in daemons.values()]
        assert time.monotonic() - began < 2 * STOP_S
        kafka.start()
    finally:
        for daemon in daemons.values():
            daemon.close()
        for place in places.values():
            place.broker.close()
