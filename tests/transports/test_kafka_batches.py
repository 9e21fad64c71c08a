"""Record batches from columns: byte for byte those of kafka-python, and split where a broker finds them too large."""

from __future__ import annotations

import uuid

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka import errors
from kafka.admin import ConfigResource
from kafka.record.default_records import DefaultRecordBatchBuilder

from runtime.core.batch import Outgoing
from runtime.core.column import as_column
from runtime.transports.connect import open_broker
from runtime.transports.kafka_batches import chunks, encode_records, record_sizes
from runtime.transports.kafka_python_clients import KafkaProducer, KafkaPythonAdmin, make
from runtime.transports.kafka_python_produce import Window, end_producer

NOW_MS = 1_700_000_000_000
CELLS = st.one_of(st.none(), st.binary(max_size=200))


@given(
    st.lists(st.tuples(CELLS, CELLS, st.integers(-(10**7), 10**11)), min_size=1, max_size=300),
    st.booleans(),
)
def test_records_are_those_that_kafka_python_writes(records, same_size):
    if same_size:
        records = [(b"%04d" % index, b"x" * 16, stamp) for index, (_, _, stamp) in enumerate(records)]
    builder = DefaultRecordBatchBuilder(2, 0, False, -1, -1, -1, 1 << 30)
    for offset, (key, value, stamp) in enumerate(records):
        builder.append(offset, NOW_MS + stamp, key, value, [])
    stamps = np.array([NOW_MS + stamp for _, _, stamp in records], np.int64)
    keys, values = as_column([key for key, _, _ in records]), as_column([value for _, value, _ in records])
    found = encode_records(stamps, keys, values).tobytes()
    assert found == bytes(builder._buffer[DefaultRecordBatchBuilder.HEADER_STRUCT.size :])
    assert len(found) <= record_sizes(keys, values).sum()


@given(st.lists(st.integers(1, 100), max_size=60), st.integers(1, 300))
def test_chunks_hold_all_in_order_and_are_no_larger_than_allowed_but_for_single_records(sizes, most):
    found = list(chunks(np.array(sizes, np.int64), most))
    assert [index for begin, end in found for index in range(begin, end)] == list(range(len(sizes)))
    assert all(sum(sizes[begin:end]) <= most or end == begin + 1 for begin, end in found)


@pytest.mark.kafka
def test_batches_arrive_in_order_and_one_that_is_not_taken_is_told(kafka_broker):
    topic = f"small-{uuid.uuid4().hex[:8]}"
    admin = KafkaPythonAdmin(kafka_broker, {}, 20.0)
    admin.create(topic, 2, {})
    admin.client.alter_configs([ConfigResource("topic", topic, configs={"max.message.bytes": "5000"})])
    producer = make(KafkaProducer, kafka_broker, {}, 20.0, batch_size=4000, transactional_id=topic)
    producer.init_transactions()
    window = Window(producer, lambda sent: sent.get(timeout=30))
    records = Outgoing(
        np.arange(2000, dtype=np.int32) % 2,
        NOW_MS + np.arange(2000),
        [b"k%d" % index for index in range(2000)],
        [None if index % 7 == 0 else b"v%d" % index for index in range(2000)],
    )
    producer.begin_transaction()
    window.send(topic, records)
    window.flush()
    producer.commit_transaction()
    broker = open_broker(kafka_broker, "kafka-python")
    found = broker.read(topic)
    for partition in (0, 1):
        mine = np.flatnonzero(found.partitions == partition)
        rows = range(partition, 2000, 2)
        assert [found.keys[index] for index in mine] == [records.keys[row] for row in rows]
        assert [found.values[index] for index in mine] == [records.values[row] for row in rows]
        assert found.timestamps[mine].tolist() == [NOW_MS + row for row in rows]
    producer.begin_transaction()
    window.send(topic, Outgoing(np.zeros(1, np.int32), np.full(1, -1, np.int64), [b"k"], [b"x" * 20000]))
    with pytest.raises(errors.KafkaError):
        window.flush()
    end_producer(producer)
    broker.close()
    admin.close()
