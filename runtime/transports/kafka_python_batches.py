"""Whole record batches into kafka-python's producer, instead of a record at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from kafka import errors
from kafka.producer.future import FutureRecordMetadata
from kafka.producer.producer_batch import ProducerBatch
from kafka.record.memory_records import MemoryRecordsBuilder

from runtime.core.batch import Outgoing
from runtime.core.column import as_column
from runtime.transports.kafka_batches import chunks, encode_records, record_sizes
from runtime.transports.kafka_python_clients import TopicPartition

VERSION = 2
"""Of the record batch's format."""

_PARTS = {
    "_accumulator": ("_batches", "_incomplete", "_tp_lock", "config"),
    "_sender": ("wakeup",),
    "_metadata": ("partitions_for_topic",),
}
_BUILT = ("_buffer", "_first_timestamp", "_last_offset", "_max_timestamp", "_num_records")

Failed = Callable[[Exception], None]


class BatchWriter:
    """Puts batches into the producer's accumulator, as its ``append`` does when a new batch begins."""

    def __init__(self, producer: Any) -> None:
        self._producer = producer
        self._accumulator = producer._accumulator

    @classmethod
    def fits(cls, producer: Any) -> bool:
        """Whether this version of kafka-python has the parts that are used here (3.0.12 has)."""
        parts = all(hasattr(getattr(producer, part, None), name) for part, names in _PARTS.items() for name in names)
        builder = getattr(MemoryRecordsBuilder(VERSION, 0, 0), "_builder", None)
        return (
            parts
            and producer._accumulator.config.get("message_version") == VERSION
            and all(hasattr(builder, name) for name in _BUILT)
        )

    def send(self, topic: str, records: Outgoing, failed: Failed) -> Iterator[tuple[Any, int]]:
        """Send records that have a partition and no headers; gives a future and the bytes of each batch.

        ``failed`` is told of each record that is not delivered, or once for a batch. Raises what ``send`` of the
        producer does.
        """
        known = self._producer._metadata.partitions_for_topic(topic)
        if known is None:
            self._producer._wait_on_metadata(topic, self._producer.config["max_block_ms"])
            known = self._producer._metadata.partitions_for_topic(topic) or ()
        keys, values = as_column(records.keys), as_column(records.values)
        stamps = np.where(records.timestamps < 0, round(1000 * time.time()), records.timestamps).astype(np.int64)
        sizes = record_sizes(keys, values)
        if sizes.max(initial=0) > self._producer.config["max_request_size"]:
            raise errors.MessageSizeTooLargeError(f"a record of {sizes.max()} bytes, the client's limit is lower")
        for partition in np.unique(records.partitions).tolist():
            if partition not in known:
                raise ValueError(f"unrecognized partition {partition} for topic {topic}")
            place = TopicPartition(topic, partition)
            manager = self._producer._transaction_manager
            if manager is not None and manager.is_transactional():
                manager.maybe_add_partition_to_transaction(place)
            mine = np.flatnonzero(records.partitions == partition)
            for begin, end in chunks(sizes[mine], self._accumulator.config["batch_size"]):
                rows = mine[begin:end]
                batch, sent = self._batch(place, stamps[rows], keys.pick(rows), values.pick(rows), failed)
                self._put(place, batch)
                self._producer._sender.wakeup()  # who takes this may wait for it
                yield sent, int(sizes[rows].sum())

    def _batch(
        self, place: TopicPartition, stamps: np.ndarray, keys: Any, values: Any, failed: Failed
    ) -> tuple[ProducerBatch, FutureRecordMetadata]:
        config = self._accumulator.config
        builder = MemoryRecordsBuilder(VERSION, config["compression_attrs"], config["batch_size"])
        inner, n = builder._builder, stamps.size
        inner._buffer.extend(encode_records(stamps, keys, values).data)
        inner._first_timestamp, inner._max_timestamp = int(stamps[0]), int(stamps.max())
        inner._last_offset, inner._num_records = n - 1, n
        builder._next_offset = n
        batch = ProducerBatch(place, builder)
        batch._record_futures = futures = _Futures(batch, n, failed)
        return batch, futures[0]

    def _put(self, place: TopicPartition, batch: ProducerBatch) -> None:
        accumulator = self._accumulator
        accumulator._appends_in_progress.increment()
        try:
            with accumulator._tp_lock(place):
                if accumulator._closed:
                    raise errors.IllegalStateError("the producer is closed")
                accumulator._batches[place].append(batch)
                accumulator._incomplete.add(batch)
        finally:
            accumulator._appends_in_progress.decrement()


class _Futures:
    """A future for each record of a batch, made when it is asked for: a batch that the broker finds too large is split."""

    def __init__(self, batch: ProducerBatch, n: int, failed: Failed) -> None:
        self._batch, self._n, self._failed = batch, n, failed
        self._made: dict[int, FutureRecordMetadata] = {}

    def __len__(self) -> int:
        return self._n

    def __getitem__(self, index: int) -> FutureRecordMetadata:
        if index not in self._made:
            future = FutureRecordMetadata(self._batch.produce_future, index, None, None, -1, -1, -1)
            future.add_errback(self._failed)
            self._made[index] = future
        return self._made[index]
