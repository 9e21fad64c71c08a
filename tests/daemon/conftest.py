"""The brokers that the daemon is tried on, each with topics of its own."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from edge_rnn.contract.bundle import Bundle
from runtime.core.batch import Outgoing, RecordBatch
from runtime.transports.connect import open_broker
from runtime.transports.protocol import Broker
from tests.models_for_tests import make_bundle

PARTITIONS = 4


@dataclass
class Place:
    """A broker with an input and an output topic."""

    broker: Broker
    url: str
    client: str
    tag: str
    folder: Path

    def topic(self, role: str) -> str:
        return f"{self.tag}-{role}"

    def arguments(self, bundle: Bundle, *more: str) -> list[str]:
        """What ``edge-rnn run`` takes to serve these topics."""
        return [
            str(bundle.path),
            *("--input", self.topic("in"), "--output", self.topic("out"), "--dead-letter", self.topic("dead")),
            *("--broker", self.url, "--client", self.client, "--group", f"{self.tag}-group", "--codec", "f32"),
            *("--state-dir", str(self.folder / "state"), *more),
        ]

    def feed(self, records: list[tuple[int, bytes | None, bytes | None]], role: str = "in") -> None:
        """Append ``(partition, key, value)`` records."""
        self.broker.write(
            self.topic(role),
            Outgoing(
                partitions=np.array([r[0] for r in records], np.int32),
                timestamps=np.full(len(records), -1, np.int64),
                keys=[r[1] for r in records],
                values=[r[2] for r in records],
            ),
        )

    def again(self) -> Place:
        """The same place by a connection of its own."""
        return replace(self, broker=open_broker(self.url, self.client))  # type: ignore[arg-type]

    def read(self, role: str = "out") -> RecordBatch:
        return self.broker.read(self.topic(role))


@pytest.fixture(
    params=[
        "sqlite",
        pytest.param("kafka-python", marks=pytest.mark.kafka),
        pytest.param("confluent", marks=pytest.mark.kafka),
    ]
)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """Each transport in turn."""
    yield from _place(request.param, request, tmp_path)


@pytest.fixture(
    params=[
        pytest.param("kafka-python", marks=pytest.mark.kafka),
        pytest.param("confluent", marks=pytest.mark.kafka),
    ]
)
def kafka_place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """Kafka by each client in turn."""
    yield from _place(request.param, request, tmp_path)


@pytest.fixture
def embedded(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """The embedded transport alone, for what does not depend on the transport."""
    yield from _place("sqlite", request, tmp_path)


def _place(name: str, request: pytest.FixtureRequest, folder: Path) -> Iterator[Place]:
    """One transport's place, closed when the iterator ends."""
    if name == "sqlite":
        url, client = f"sqlite:{folder / 'store.sqlite'}", "kafka-python"
    else:
        url, client = request.getfixturevalue("kafka_broker"), name
    broker = open_broker(url, client)  # type: ignore[arg-type]
    place = Place(broker, url, client, f"d{uuid.uuid4().hex[:8]}", folder)
    for role in ("in", "out", "dead"):
        broker.create_topic(place.topic(role), PARTITIONS)
    yield place
    broker.close()


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Two layers of LSTM, 3 features, 2 outputs."""
    return make_bundle(tmp_path_factory.mktemp("bundles") / "lstm", layers=2)
