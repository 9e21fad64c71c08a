"""confluent-kafka without transactions: outputs are flushed, then the positions are committed to the group."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from edge_rnn.contract.errors import CommitAborted, TransportError
from runtime.transports.confluent import COMMIT_SLICE_S, ConfluentTransport
from runtime.transports.confluent_clients import producer
from runtime.transports.confluent_produce import RecordSink
from runtime.transports.kafka_member import COMMIT_DEADLINE_S, log
from runtime.transports.protocol import Position

FLUSH_SLICE_S = 1.0
PURGED = {KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT}


class ConfluentAtLeastOnce(ConfluentTransport):
    """As `ConfluentTransport`, but what is sent is seen at once, and seen again where a commit failed."""

    _failed: KafkaError | None = None

    def _make_producer(self) -> None:
        self._failed = None
        self._producer = producer(
            self.settings.broker,
            self._properties,
            enable_idempotence=True,
            partitioner="murmur2_random",
            linger_ms=5,
            queue_buffering_max_messages=50_000,
            queue_buffering_max_kbytes=16_384,
            delivery_report_only_error=True,
            on_delivery=self._delivered,
        )
        self._sink = RecordSink(self._producer, reports=True)

    def _begin_producing(self, timeout_s: float) -> None:
        """There are no transactions to take."""

    def _delivered(self, error: KafkaError | None, _message: object) -> None:
        if error is not None and error.code() not in PURGED:
            self._failed = error

    def begin_transaction(self) -> None:
        """There is none to begin."""

    def send_offsets(self, positions: Mapping[int, Position]) -> None:
        self._flush()
        places = [
            TopicPartition(self.settings.input, partition, position.offset, position.metadata)
            for partition, position in positions.items()
        ]

        def commit_offsets(_limit_s: float) -> None:
            found: Any = self._consumer.commit(offsets=places, asynchronous=False)
            for place in found:
                if place.error is not None:
                    raise KafkaException(place.error)

        try:
            self._limited(commit_offsets, COMMIT_SLICE_S)
        except KafkaException as error:
            raise self._explain(error) from error

    def commit_transaction(self) -> None:
        self._flush()

    def abort_transaction(self) -> None:
        self._producer.purge()
        self._producer.poll(0)
        self._failed = None

    def _flush(self) -> None:
        """Wait until all that was sent is acknowledged. Raises `CommitAborted` when a record was not."""
        deadline = time.monotonic() + COMMIT_DEADLINE_S
        while left := self._producer.flush(FLUSH_SLICE_S):
            if self._failed is not None or time.monotonic() > deadline:
                break
            log.debug("flush: %d records are not acknowledged yet", left)
        if self._failed is not None or left:
            reason = self._failed.str() if self._failed is not None else f"{left} without an answer"
            raise CommitAborted(f"records of group {self.settings.group!r} were not taken: {reason}")

    def _explain(self, failure: KafkaException) -> TransportError:
        error = failure.args[0]
        if error.code() == KafkaError.FENCED_INSTANCE_ID:
            return self.fence(error.str())
        if error.fatal():
            self._renew = True
        return CommitAborted(f"group {self.settings.group!r} did not commit: {error.str()}")

    def close(self, *, leave: bool = False) -> None:
        self._begun = False  # no transaction to abort
        super().close(leave=leave)
