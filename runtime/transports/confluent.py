"""The transport over confluent-kafka (librdkafka): fast, and its work is done without Python's lock."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from edge_rnn.contract.errors import BrokerUnreachable, CommitAborted, TransportError
from runtime.core.batch import Outgoing, RecordBatch
from runtime.transports.confluent_clients import FENCED, ConfluentAdmin, checked, consumer, producer
from runtime.transports.confluent_close import CLOSE_S, close_within
from runtime.transports.confluent_metadata import told
from runtime.transports.confluent_produce import RecordSink
from runtime.transports.confluent_reader import ConfluentReader
from runtime.transports.confluent_source import Event, Source, last_offsets, make_source
from runtime.transports.kafka_member import (
    ASK_AGAIN_MS,
    COMMIT_DEADLINE_S,
    HEARTBEAT_MS,
    METADATA_MS,
    MOST_ASK_AGAIN_MS,
    KafkaMember,
    log,
    unreachable_text,
)
from runtime.transports.kafka_reader import PartitionReader, Restores
from runtime.transports.kafka_topics import prepare_topics
from runtime.transports.librdkafka import load
from runtime.transports.limited import LimitedCalls
from runtime.transports.protocol import MemberSettings, Position

POLL_SLICE_S = 0.1
QUEUE_KB = 16_384
QUEUE = 65_536
LEAST_QUEUE_KB = 512
LEAST_QUEUE = 1_000
"""What waits to be polled: kilobytes and messages of all partitions, and the least of one."""

RETRY_MS = 5
"""A transaction may begin before the markers of the one before are written; the broker then asks to try again, and
librdkafka's 100 ms between would be the longest part of many a commit."""

COMMIT_SLICE_S = 10.0
TAKE_SLICE_S = 0.04
"""Of a first try to take the transactions, doubled each time. While an older self's last one is being completed the
broker asks to try again, and librdkafka does so after half a second, or at once when it is called again."""
STUCK_S = 5.0
SILENT_S = 30.0
SETTLE_S = 60.0
SETTLE_LOOK_S = 0.02


class ConfluentTransport(KafkaMember):
    """See `Transport`."""

    def __init__(self, settings: MemberSettings) -> None:
        super().__init__(settings)
        self._properties = checked(settings.properties)
        self._consumer: Any = None
        self._producer: Any = None
        self._source: Source
        self._sink: RecordSink
        self._admin: ConfluentAdmin | None = None
        self._restores = Restores(self._make_reader)
        self._joined = threading.Event()
        self._calls = LimitedCalls("edge-rnn-transaction")
        self._stuck = False
        self._silent: dict[int, tuple[float, float]] = {}

    def make_clients(self) -> None:
        settings = self.settings
        self._admin = ConfluentAdmin(settings.broker, self._properties, settings.startup_timeout_s)
        self.counts = prepare_topics(self._admin, settings)
        self._make_producer()
        self._take_member()

    def join(self, timeout_s: float) -> None:
        self._begin_producing(timeout_s)
        self._subscribe()

    def _take_consumer(self, **membership: object) -> None:
        settings = self.settings
        queues = 1 if load() is None else max(1, self.counts.input)  # each partition has its own, with these limits
        self._consumer = consumer(
            settings.broker,
            self._properties,
            group_id=settings.group,
            enable_auto_commit=False,
            enable_auto_offset_store=False,
            enable_partition_eof=True,
            heartbeat_interval_ms=HEARTBEAT_MS,
            fetch_wait_max_ms=100,  # a partition that is newly served waits for a fetch under way
            isolation_level="read_committed",
            auto_offset_reset="error",
            queued_max_messages_kbytes=max(LEAST_QUEUE_KB, QUEUE_KB // queues),
            queued_min_messages=max(LEAST_QUEUE, QUEUE // queues),  # the kilobytes do not count what each costs beside
            fetch_queue_backoff_ms=10,  # its 1 s leaves a replay (or a fast model) waiting for records that are there
            retry_backoff_ms=ASK_AGAIN_MS,
            retry_backoff_max_ms=MOST_ASK_AGAIN_MS,
            topic_metadata_refresh_interval_ms=METADATA_MS,
            **membership,
        )
        self._source = make_source(self._consumer, settings.input)
        self._joined.set()  # a consumer that does not subscribe joins nothing

    def _take_member(self) -> None:
        instance = self.settings.instance
        self._take_consumer(group_instance_id=instance, partition_assignment_strategy="cooperative-sticky")

    def _subscribe(self) -> None:
        settings = self.settings
        self._joined = joined = threading.Event()

        def on_assign(client: Any, places: list[TopicPartition]) -> None:
            joined.set()
            self._on_assign(client, places)

        def gone(client: Any, places: list[TopicPartition], lost: bool) -> None:
            joined.clear()  # it joins again at once
            if client is self._consumer:
                self.gives_up([each.partition for each in places], lost=lost)

        self._consumer.subscribe(
            [settings.input],
            on_assign=on_assign,
            on_revoke=lambda client, places: gone(client, places, False),
            on_lost=lambda client, places: gone(client, places, True),
        )

    def _drop_consumer(self) -> None:
        """Destroy the consumer once it has joined: see `close_within` for why not before."""
        joined, clients = self._joined, [self._consumer]
        self._consumer = None
        self._source.close()

        def settle(client: Any) -> None:
            deadline = time.monotonic() + SETTLE_S
            errors = [message.error() for message in client.consume(1, 0)]
            while not joined.is_set() and time.monotonic() < deadline:
                if any(error is not None and error.fatal() for error in errors):
                    return
                errors = [message.error() for message in client.consume(1, SETTLE_LOOK_S)]

        close_within(clients, settle=settle)

    def _make_producer(self) -> None:
        settings = self.settings
        self._producer = producer(
            settings.broker,
            self._properties,
            transactional_id=self.transactional_id,
            transaction_timeout_ms=int(settings.transaction_timeout_s * 1000),
            partitioner="murmur2_random",
            linger_ms=0,  # an epoch's outputs are queued at once, so none gain from it, and the last would wait for the commit
            retry_backoff_ms=RETRY_MS,
            queue_buffering_max_messages=50_000,
            queue_buffering_max_kbytes=16_384,
            delivery_report_only_error=True,
        )
        self._sink = RecordSink(self._producer, reports=False)

    def _begin_producing(self, timeout_s: float) -> None:
        """Take the transactions from an older self."""
        self._retry("init_transactions", timeout_s, slice_s=TAKE_SLICE_S)

    def renew_producer(self) -> None:
        self._drop_producer()
        self._make_producer()
        self._begin_producing(COMMIT_DEADLINE_S)

    def _drop_producer(self) -> None:
        self._sink.close()
        gone, self._producer = [self._producer], None
        if not self._stuck:
            gone[0].purge()
        self._stuck = False
        close_within(gone)

    def renew_consumer(self) -> None:
        self._drop_consumer()
        self._take_member()
        self._subscribe()

    def member_id(self) -> str | None:
        return None if self._consumer is None else self._consumer.memberid() or None

    def _on_assign(self, client: Any, places: list[TopicPartition]) -> None:
        # A number, not OFFSET_END: librdkafka would look the end up, and an answer that comes late (seen on a
        # broker just started) overrides the offset of `serve`, so that the partition gives nothing for ever.
        if client is self._consumer:
            for each in places:
                self._source.part(each.partition)
        client.incremental_assign([TopicPartition(each.topic, each.partition, 0) for each in places])
        client.pause(places)
        if client is self._consumer:
            self.gained([each.partition for each in places])
            self._source.interrupt()

    # -- reading ------------------------------------------------------------------------------------------------------

    def poll(self, max_records: int, timeout_s: float) -> RecordBatch:
        deadline = time.monotonic() + timeout_s
        if self._producer is not None:
            self._producer.poll(0)
        if self._expelled is not None:
            self.expelled(self._expelled)
        while True:
            left_s = max(0.0, min(POLL_SLICE_S, deadline - time.monotonic()))
            records, events = self._source.fetch(self.next, max_records, left_s)
            ends: dict[int, int] = {}
            for event in events:
                self._take_event(event, ends)
            news = self.tell()
            given = last_offsets(records)
            if not self.next.keys() >= given.keys():  # some went in the middle of this poll
                ours = np.isin(records.partitions, list(self.next))
                records = records.pick(np.flatnonzero(ours).tolist(), ())
                given = last_offsets(records)
            for partition in [*given, *ends]:
                self._silent.pop(partition, None)
            if self._silent:
                self._ask_anew()
            positions = self.advance(given, ends)
            if positions or news or time.monotonic() >= deadline:
                return replace(records, positions=positions)

    def _ask_anew(self) -> None:
        """Partitions that have given neither a record nor their end since they are served are asked for once more.

        A healthy one says at once where its end is. librdkafka was seen to give nothing of a partition for ever.
        """
        now = time.monotonic()
        for partition, (since, patience_s) in [*self._silent.items()]:
            if partition not in self.next:
                del self._silent[partition]
            elif now - since >= patience_s:
                log.warning("%s/%d gives nothing for %.0f s: asking anew", self.settings.input, partition, now - since)
                self.seek(partition, self.next[partition])
                self._silent[partition] = (now, 2 * patience_s)  # on a slow line the first records may take long

    def _take_event(self, event: Event, ends: dict[int, int]) -> None:
        if event.code == KafkaError._PARTITION_EOF:
            ends[event.partition] = event.offset
        elif event.code in {KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE}:
            if event.partition in self.next:
                self.astray(event.partition)
        elif event.fatal or event.code in FENCED or event.code == KafkaError._FATAL:
            self.expelled(event.text)
        elif event.code in {KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED}:
            raise TransportError(f"{self.settings.broker} refuses group {self.settings.group!r}: {event.text}")
        else:
            log.warning("%s: %s", self.settings.broker, event.text)

    def _place(self, partition: int, offset: int = 0) -> TopicPartition:
        return TopicPartition(self.settings.input, partition, offset)

    def pause(self, partition: int) -> None:
        self._consumer.pause([self._place(partition)])

    def seek(self, partition: int, offset: int) -> None:
        place = self._place(partition, offset)
        # Not `seek`: it is refused where the fetch ended in an error, and a partition that was paused and sought may
        # give nothing for a second, until librdkafka's thread looks again.
        self._consumer.incremental_unassign([place])
        # Before it is assigned: librdkafka numbers what it is asked to do with a partition and drops what comes with a
        # lower number than the last, and beside `resume` its own thread would ask for the start of the fetch.
        self._consumer.resume([place])
        self._consumer.incremental_assign([place])
        self._silent[partition] = (time.monotonic(), SILENT_S)

    def committed(self, partition: int) -> Position | None:
        question = partial(self._consumer.committed, [self._place(partition)], timeout=5.0)
        ((found, metadata),) = told(lambda: self._ask(question))
        if found.error is not None:
            raise TransportError(f"no committed position of {self.settings.input}/{partition}: {found.error}")
        return None if found.offset < 0 else Position(found.offset, metadata)

    def bounds(self, partition: int) -> tuple[int, int]:
        assert self._admin is not None
        return self._admin.bounds(self.settings.input, [partition])[partition]

    def offset_at(self, partition: int, timestamp_ms: int) -> int:
        assert self._admin is not None
        found = self._admin.offset_at(self.settings.input, partition, timestamp_ms)
        return self.bounds(partition)[1] if found < 0 else found

    def _ask(self, question: Any) -> Any:
        """Ask the broker, again while it is away. Raises `BrokerUnreachable` at the start-up time-out."""
        deadline = time.monotonic() + self.settings.startup_timeout_s
        while True:
            try:
                return question()
            except KafkaException as error:
                if time.monotonic() > deadline:
                    reason = error.args[0].name()
                    text = unreachable_text(self.settings.broker, self.settings.startup_timeout_s, reason)
                    raise BrokerUnreachable(text) from error
                time.sleep(0.05)

    def restore(self, partition: int) -> Iterator[tuple[list[bytes], list[bytes]]]:
        assert self._admin is not None
        end = self._admin.ends(self.settings.state_topic, [partition])[partition]
        pages = self._restores.restore(partition, end)
        return (([each.key() or b"" for each in page], [each.value() or b"" for each in page]) for page in pages)

    def _make_reader(self) -> PartitionReader:
        return ConfluentReader(self.settings.broker, self._properties, self.settings.state_topic)

    def lag(self) -> dict[int, int]:
        found = {}
        for partition, following in self.next.items():
            _, high = self._consumer.get_watermark_offsets(self._place(partition), cached=True)
            found[partition] = max(0, high - following)
        return found

    # -- writing ------------------------------------------------------------------------------------------------------

    def produce(self, topic: str, records: Outgoing) -> None:
        try:
            self._sink.send(topic, records)
        except KafkaException as error:
            raise self._explain(error) from error

    def begin_transaction(self) -> None:
        try:
            self._producer.begin_transaction()
        except KafkaException as error:
            raise self._explain(error) from error

    def send_offsets(self, positions: Mapping[int, Position]) -> None:
        places = [
            TopicPartition(self.settings.input, partition, position.offset, position.metadata)
            for partition, position in positions.items()
        ]
        self._retry("send_offsets_to_transaction", COMMIT_DEADLINE_S, places, self._consumer.consumer_group_metadata())

    def commit_transaction(self) -> None:
        self._retry("commit_transaction", COMMIT_DEADLINE_S)

    def abort_transaction(self) -> None:
        self._retry("abort_transaction", COMMIT_DEADLINE_S)

    def _retry(self, call: str, timeout_s: float, *arguments: Any, slice_s: float = COMMIT_SLICE_S) -> None:
        """One call of the transaction's protocol, again while its error says so. Raises what the error means."""
        deadline = time.monotonic() + timeout_s
        while True:
            left_s = max(0.1, deadline - time.monotonic())
            try:
                self._limited(getattr(self._producer, call), *arguments, min(slice_s, left_s))
                return
            except KafkaException as error:
                if not error.args[0].retriable() or error.args[0].fatal() or error.args[0].txn_requires_abort():
                    raise self._explain(error) from error
                if time.monotonic() > deadline:
                    text = unreachable_text(self.settings.broker, timeout_s, f"{call}: {error.args[0].name()}")
                    raise BrokerUnreachable(text) from error
                if slice_s >= COMMIT_SLICE_S:
                    log.warning("%s: no answer yet from %s, asking again", call, self.settings.broker)
                slice_s = min(COMMIT_SLICE_S, 2 * slice_s)

    def _limited(self, call: Any, *arguments: Any) -> None:
        """Make a call on another thread: some of librdkafka's outlast their own time limit, even for ever."""
        name = call.__name__
        done = self._calls.begin(call, arguments)
        del call  # no reference to the client may stay in the traceback of what is raised here: see `close_within`
        try:
            self._calls.wait(done, arguments[-1] + STUCK_S)
        except TimeoutError as error:
            self._stuck = self._renew = True
            raise CommitAborted(
                f"librdkafka's {name} does not return; what became of the transaction is read from the broker"
            ) from error

    def _explain(self, failure: KafkaException) -> TransportError:
        traceback.clear_frames(failure.__traceback__)  # they refer to the client: see `close_within`
        error = failure.args[0]
        if error.code() in FENCED and (error.fatal() or error.code() != KafkaError.INVALID_PRODUCER_EPOCH):
            return self.refused(error.str())
        if error.fatal():
            if "fenced" in error.str().lower():
                return self.refused(error.str())
            # This producer is of no more use. So it is after an abort before the broker knew of the transaction
            # (seen as INVALID_TXN_STATE). What is committed is read from the broker before anything is sent again.
            self._renew = True
        return CommitAborted(f"the transaction of group {self.settings.group!r} failed: {error.str()}")

    def close(self, *, leave: bool = False) -> None:
        self._closing.set()
        self._group.close()
        if self._producer is not None:
            if self._begun and self._fenced is None and not self._stuck:
                try:
                    self._limited(self._producer.abort_transaction, CLOSE_S)
                except (KafkaException, CommitAborted) as error:
                    log.debug("abort at the end: %s", error)
            self._drop_producer()
        self._calls.close()
        self._restores.close()
        if self._consumer is not None:
            self._drop_consumer()
            if leave:
                from runtime.transports.kafka_leave import leave_group

                leave_group(self.settings)
        if self._admin is not None:
            self._admin.close()
            self._admin = None
