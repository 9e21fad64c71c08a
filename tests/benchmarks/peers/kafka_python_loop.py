"""The expert's loop over kafka-python, which is pure Python."""

from __future__ import annotations

import uuid

from kafka import KafkaConsumer, KafkaProducer

from tests.benchmarks.peers.began import Began
from tests.benchmarks.peers.model import Batched

POLL_RECORDS = 2000


def run_batched(broker: str, source: str, target: str, n: int, graph: str) -> None:
    """Each poll's records in as few calls as there are repeats."""
    batched, began, seen = Batched(graph), Began(), 0
    inputs = KafkaConsumer(
        source,
        bootstrap_servers=broker,
        group_id=uuid.uuid4().hex,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        max_poll_records=POLL_RECORDS,
    )
    out = KafkaProducer(bootstrap_servers=broker, linger_ms=5)
    while seen < n:
        records = [record for some in inputs.poll(1000).values() for record in some]
        began(records)
        if records:
            for key, value in batched([(record.key, record.value) for record in records]):
                out.send(target, value, key)
        seen += len(records)
    out.flush()
