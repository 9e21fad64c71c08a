"""The native part: what it takes out of librdkafka's queues is what confluent-kafka gives, to the byte."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid

import numpy as np
import pytest

from runtime.core.batch import Outgoing
from runtime.transports.confluent_clients import consumer
from runtime.transports.confluent_close import close_within
from runtime.transports.confluent_source import ColumnSource, ObjectSource, Source, make_source
from runtime.transports.connect import open_broker
from runtime.transports.librdkafka import QueueReader, load

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.skipif(
        load() is None and not os.environ.get("CI"), reason="edge-rnn-native is not installed (no C compiler)"
    ),
]

N, PARTITIONS = 500, 3
NOW_MS = 1_700_000_000_000

Row = tuple[int, int, int, bytes | None, bytes | None, list[tuple[str, bytes]]]


@pytest.fixture(scope="module")
def topic(kafka_broker) -> str:
    """Records of all kinds: no key, no value, empty ones, headers, some of 100 kB."""
    name = f"kinds-{uuid.uuid4().hex[:8]}"
    store = open_broker(kafka_broker, "confluent")
    store.create_topic(name, PARTITIONS)
    rng = np.random.default_rng(0)
    headers = [[("trace", b"t%d" % i), ("empty", b"")] if i % 5 == 0 else [] for i in range(N)]
    values = [
        None if i % 11 == 0 else rng.bytes(100_000 if i % 97 == 1 else int(rng.integers(0, 40))) for i in range(N)
    ]
    keys = [None if i % 7 == 0 and i % 11 else b"" if i % 13 == 0 else b"k%d" % i for i in range(N)]
    store.write(name, Outgoing(np.arange(N, dtype=np.int32) % PARTITIONS, NOW_MS + np.arange(N), keys, values, headers))
    store.close()
    return name


def read(broker: str, topic: str, kind: type[Source] | None) -> tuple[list[Row], list[tuple[int, int]]]:
    """All records by partition, and the ends told of."""
    from confluent_kafka import KafkaError, TopicPartition

    client = consumer(broker, {}, group_id=uuid.uuid4().hex, enable_partition_eof=True, auto_offset_reset="earliest")
    library = load()
    assert library is not None
    source: Source
    if kind is ObjectSource:
        source = ObjectSource(client)
    elif kind is ColumnSource:
        source = ColumnSource(client, QueueReader(library, client, topic))
    else:
        source = make_source(client, topic)
    for partition in range(PARTITIONS):
        source.part(partition)
    client.incremental_assign([TopicPartition(topic, partition, 0) for partition in range(PARTITIONS)])
    rows: list[Row] = []
    ends: list[tuple[int, int]] = []
    while len(ends) < PARTITIONS:
        batch, events = source.fetch(range(PARTITIONS), 64, 10.0)
        assert len(batch) <= 64
        assert len(batch) or events
        for index, (key, value) in enumerate(zip(batch.keys, batch.values, strict=True)):
            place = int(batch.partitions[index]), int(batch.offsets[index]), int(batch.timestamps[index])
            rows.append((*place, key, value, list(batch.headers[index]) if batch.headers else []))
        ends += [(e.partition, e.offset) for e in events if e.code == KafkaError._PARTITION_EOF]
    source.close()
    clients = [client]
    del client
    close_within(clients)
    return sorted(rows, key=lambda row: row[:2]), sorted(ends)


def test_columns_are_what_the_client_gives_in_objects(kafka_broker, topic):
    objects, columns = read(kafka_broker, topic, ObjectSource), read(kafka_broker, topic, ColumnSource)
    assert len(objects[0]) == N
    assert columns == objects


def test_native_part_is_used_where_it_is_installed_and_not_where_it_is_switched_off(kafka_broker):
    client = consumer(kafka_broker, {}, group_id="any")
    source = make_source(client, "any")
    assert isinstance(source, ColumnSource)
    source.close()
    code = "from runtime.transports.librdkafka import load; print(load())"
    found = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "EDGE_RNN_NATIVE": "0"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout == "None\n"
