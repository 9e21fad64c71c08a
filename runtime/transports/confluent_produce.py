"""Columns into librdkafka's queue, waiting while it is full."""

from __future__ import annotations

from typing import Any

from runtime.core.batch import Outgoing

FULL_WAIT_S = 0.02


def produce(client: Any, topic: str, records: Outgoing) -> None:
    """Queue all records. Raises ``confluent_kafka.KafkaException``.

    ``produce_batch`` takes neither timestamps nor headers (confluent-kafka 2.16), so records go one by one, with
    errors of delivery left to the client: in a transaction they make its commit fail.
    """
    partitions, stamps = records.partitions.tolist(), records.timestamps.tolist()
    send = client.produce
    headers = records.headers
    for index, (partition, stamp, key, value) in enumerate(
        zip(partitions, stamps, records.keys, records.values, strict=True)
    ):
        notes = headers[index] if headers is not None else None
        while True:
            try:
                if notes:
                    send(topic, value, key, partition, timestamp=max(0, stamp), headers=list(notes))
                else:
                    send(topic, value, key, partition, timestamp=max(0, stamp))
                break
            except BufferError:
                client.poll(FULL_WAIT_S)
    client.poll(0)
