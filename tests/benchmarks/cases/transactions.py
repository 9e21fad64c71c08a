"""What a transaction costs the broker, by how many partitions it writes: the figure that docs/scale.md builds on."""

from __future__ import annotations

import time
import uuid

from confluent_kafka import Consumer, Producer, TopicPartition

from tests.benchmarks.broker_admin import Admin
from tests.benchmarks.processes import cpu_seconds
from tests.benchmarks.site import Site

PARTITIONS = (1, 8, 32)
TRANSACTIONS, WARM = 500, 150
VALUE = b"x" * 64


def transactions(site: Site) -> None:
    """One small record to each partition and one offset, committed; again and again."""
    found = {}
    for partitions in PARTITIONS:
        topic = f"transactions-{uuid.uuid4().hex[:12]}"
        admin = Admin(site.kafka.bootstrap)
        admin.create(topic, partitions)
        found[str(partitions)] = _measure(site, topic, partitions)
        admin.delete(topic)
        print(f"  {partitions} partitions: {found[str(partitions)]}", flush=True)
    site.figures["transactions"] = found


def _measure(site: Site, topic: str, partitions: int) -> dict[str, float]:
    tag, broker = uuid.uuid4().hex, site.kafka.pid
    assert broker is not None
    producer = Producer({"bootstrap.servers": site.kafka.bootstrap, "transactional.id": tag, "linger.ms": 0})
    consumer = Consumer({"bootstrap.servers": site.kafka.bootstrap, "group.id": tag})
    producer.init_transactions()
    group, began, spent_s = consumer.consumer_group_metadata(), 0.0, 0.0
    for number in range(-WARM, TRANSACTIONS):
        if number == 0:
            began, spent_s = time.perf_counter(), cpu_seconds(broker)
        producer.begin_transaction()
        for partition in range(partitions):
            producer.produce(topic, VALUE, partition=partition)
        producer.send_offsets_to_transaction([TopicPartition(topic, 0, number + WARM)], group)
        producer.commit_transaction()
    seconds, broker_s = time.perf_counter() - began, cpu_seconds(broker) - spent_s
    consumer.close()
    return {
        "ms": round(1e3 * seconds / TRANSACTIONS, 3),
        "broker_cpu_ms": round(1e3 * broker_s / TRANSACTIONS, 3),
    }
