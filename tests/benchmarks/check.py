"""Outputs read back: none missing, none twice, and right."""

from __future__ import annotations

import uuid
from collections import defaultdict
from pathlib import Path

import numpy as np
import orjson
from confluent_kafka import Consumer, TopicPartition

from tests.benchmarks.broker_admin import Admin
from tests.benchmarks.peers.model import Model
from tests.benchmarks.workload import ROWS, Workload, key_of

SAMPLED = 12
MOST_STEPS = 4000
"""Of a sampled stream so many steps are compared, from its first."""
TOLERANCE = 2e-4
DEADLINE_S = 60.0


def check_outputs(broker: str, topic: str, bundle: Path, workload: Workload, *, model: bool, json_out: bool) -> None:
    """As many outputs as events; of some streams, the first and the busiest among them, also their values.

    ``model`` false: values must be those of the input. Raises ``AssertionError``.
    """
    numbers = workload.numbers()
    drawn = np.random.default_rng(3).choice(numbers, SAMPLED)
    sample = {key_of(int(stream)): int(stream) for stream in {*drawn.tolist(), int(numbers[0])}}
    count, found = read_committed(broker, topic, set(sample))
    assert count == workload.events, f"{count} outputs of {workload.events} events"
    rows = workload.rows()
    values = workload.values()
    for key, stream in sample.items():
        events = np.flatnonzero(numbers == stream)
        assert len(found[key]) == len(events), f"{len(found[key])} outputs of {len(events)} events of {key!r}"
        some = events[:MOST_STEPS]
        if not model:
            assert found[key][: len(some)] == [values[event % ROWS] for event in some], f"values of {key!r}"
            continue
        check_values(bundle, key, rows[some % ROWS], found[key], json_out=json_out and workload.codec == "json")


def check_values(bundle: Path, key: bytes, rows: np.ndarray, values: list[bytes], *, json_out: bool) -> None:
    """The first outputs of a stream are those of the model on ``rows``, float32[steps, features]."""
    assert len(values) >= len(rows), f"{len(values)} outputs of {len(rows)} events of {key!r}"
    expected = _expected(str(bundle / "step.onnx"), rows)
    outputs = np.array([_output(value, json_out) for value in values[: len(rows)]])
    worst = float(np.abs(outputs - expected).max())
    assert worst < TOLERANCE, f"outputs of {key!r} are off by {worst}"


def _output(value: bytes, json_out: bool) -> np.ndarray:
    return np.array(orjson.loads(value)["output"][0]) if json_out else np.frombuffer(value, np.float32)


def _expected(graph: str, rows: np.ndarray) -> np.ndarray:
    model = Model(graph)
    y, *_ = model(rows[:, None], [np.zeros((1, 1, width), np.float32) for width in model.widths])
    return y[:, 0]


def read_committed(broker: str, topic: str, wanted: set[bytes]) -> tuple[int, dict[bytes, list[bytes]]]:
    """How many committed records there are, and the values of the keys wanted, in order."""
    ends = Admin(broker).ends(topic)
    consumer = Consumer(
        {
            "bootstrap.servers": broker,
            "group.id": uuid.uuid4().hex,
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": False,
        }
    )
    consumer.assign([TopicPartition(topic, partition, 0) for partition in ends])
    count, found, idle = 0, defaultdict(list), 0
    while idle < 3:
        messages = consumer.consume(20_000, 0.5)
        for message in messages:
            assert message.error() is None, message.error()
            if message.key() in wanted:
                found[message.key()].append(message.value())
        count += len(messages)
        at_end = all(place.offset >= ends[place.partition] for place in consumer.position(consumer.assignment()))
        idle = 0 if messages and not at_end else idle + (3 if at_end else 1)
    consumer.close()
    return count, found
