"""Columns into librdkafka's queue, waiting while it is full."""

from __future__ import annotations

from typing import Any

from confluent_kafka import KafkaError

from runtime.core.batch import Outgoing
from runtime.transports.librdkafka import QueueWriter, load

FULL_WAIT_S = 0.02


class RecordSink:
    """Sends records over a producer: many a call where the native part is installed, else one by one.

    ``produce_batch`` takes neither timestamps nor headers (confluent-kafka 2.16). Call `close` before the producer
    goes.
    """

    def __init__(self, producer: Any, *, reports: bool) -> None:
        """``reports``: the producer has to tell of each record that is not delivered, which only one by one does.

        Without, it is left to the client: in a transaction it makes the commit fail.
        """
        library = None if reports else load()
        self._producer = producer
        self._writer = None if library is None else QueueWriter(library, producer)

    def send(self, topic: str, records: Outgoing) -> None:
        """Queue all records. Raises ``confluent_kafka.KafkaException``."""
        begin = 0
        if self._writer is not None and records.headers is None:
            while begin < len(records):
                begin, code = self._writer.produce(topic, records, begin)
                if code == KafkaError._QUEUE_FULL:
                    self._producer.poll(FULL_WAIT_S)
                elif code:
                    break  # the first of the rest fails again below, with all that the client says of it
        if begin < len(records):
            self._send_singly(topic, records, begin)
        self._producer.poll(0)

    def _send_singly(self, topic: str, records: Outgoing, begin: int) -> None:
        partitions, stamps = records.partitions.tolist(), records.timestamps.tolist()
        send, headers = self._producer.produce, records.headers
        for index, (partition, stamp, key, value) in enumerate(
            zip(partitions, stamps, records.keys, records.values, strict=True)
        ):
            if index < begin:
                continue
            notes = headers[index] if headers is not None else None
            while True:
                try:
                    if notes:
                        send(topic, value, key, partition, timestamp=max(0, stamp), headers=list(notes))
                    else:
                        send(topic, value, key, partition, timestamp=max(0, stamp))
                    break
                except BufferError:
                    self._producer.poll(FULL_WAIT_S)

    def close(self) -> None:
        """Let go of the producer."""
        if self._writer is not None:
            self._writer.close()
