"""The transport over confluent-kafka (librdkafka): fast, and its work is done without Python's lock."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from edge_rnn.contract.errors import BrokerUnreachable, CommitAborted, TransportError
from runtime.core.batch import Outgoing, RecordBatch
from runtime.transports.confluent_clients import (
    FENCED,
    ConfluentAdmin,
    checked,
    consumer,
    producer,
    read_to,
    to_batch,
)
from runtime.transports.confluent_produce import produce
from runtime.transports.kafka_member import COMMIT_DEADLINE_S, KafkaMember, log, unreachable_text
from runtime.transports.kafka_topics import prepare_topics
from runtime.transports.protocol import MemberSettings, Position

POLL_SLICE_S = 0.1
COMMIT_SLICE_S = 10.0
CLOSE_S = 5.0
STUCK_S = 5.0


class ConfluentTransport(KafkaMember):
    """See `Transport`."""

    def __init__(self, settings: MemberSettings) -> None:
        super().__init__(settings)
        self._properties = checked(settings.properties)
        self._consumer: Any = None
        self._producer: Any = None
        self._stuck = False

    def connect(self) -> None:
        settings = self.settings
        deadline = time.monotonic() + settings.startup_timeout_s
        self._admin = ConfluentAdmin(settings.broker, self._properties, settings.startup_timeout_s)
        self.counts = prepare_topics(self._admin, settings)
        self._make_producer(deadline - time.monotonic())
        self._consumer = consumer(
            settings.broker,
            self._properties,
            group_id=settings.group,
            group_instance_id=settings.instance,
            enable_auto_commit=False,
            enable_auto_offset_store=False,
            isolation_level="read_committed",
            auto_offset_reset="error",
            partition_assignment_strategy="cooperative-sticky",
            queued_max_messages_kbytes=16_384,
        )
        self._consumer.subscribe(
            [settings.input],
            on_assign=self._on_assign,
            on_revoke=lambda _, places: self.gives_up([each.partition for each in places], lost=False),
            on_lost=lambda _, places: self.gives_up([each.partition for each in places], lost=True),
        )

    def _make_producer(self, timeout_s: float) -> None:
        settings = self.settings
        self._producer = producer(
            settings.broker,
            self._properties,
            transactional_id=self.transactional_id,
            transaction_timeout_ms=int(settings.transaction_timeout_s * 1000),
            partitioner="murmur2_random",
            linger_ms=5,
            queue_buffering_max_messages=100_000,
            queue_buffering_max_kbytes=32_768,
            delivery_report_only_error=True,
        )
        self._retry("init_transactions", timeout_s)

    def renew_producer(self) -> None:
        if not self._stuck:
            self._producer.purge()
        self._stuck = False
        self._make_producer(COMMIT_DEADLINE_S)

    def is_member(self) -> bool:
        known = self._admin.member_id(self.settings.group, self.settings.instance)
        return known is not None and known == str(self._consumer.memberid())

    def _on_assign(self, client: Any, places: list[TopicPartition]) -> None:
        # A number, not OFFSET_END: librdkafka would look the end up, and an answer that comes late (seen on a
        # broker just started) overrides the seek of `serve`, so that the partition gives nothing for ever.
        client.incremental_assign([TopicPartition(each.topic, each.partition, 0) for each in places])
        client.pause(places)
        self.gained([each.partition for each in places])

    # -- reading ------------------------------------------------------------------------------------------------------

    def poll(self, max_records: int, timeout_s: float) -> RecordBatch:
        deadline = time.monotonic() + timeout_s
        self._producer.poll(0)
        while True:
            messages = self._consumer.consume(max_records, 0)
            if not messages:
                messages = self._consumer.consume(1, max(0.0, min(POLL_SLICE_S, deadline - time.monotonic())))
                if messages and max_records > 1:
                    messages += self._consumer.consume(max_records - 1, 0)
            good = [message for message in messages if message.error() is None]
            for message in messages if len(good) < len(messages) else ():
                if message.error() is not None:
                    self._take_error(message)
            news = self.tell()
            if any(message.partition() not in self.next for message in good):  # went in the middle of this poll
                good = [message for message in good if message.partition() in self.next]
            if good or news or time.monotonic() >= deadline:
                positions = {message.partition(): message.offset() + 1 for message in good}
                self.next.update(positions)
                return to_batch(good, positions)

    def _take_error(self, message: Any) -> None:
        error = message.error()
        if error.code() in {KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE}:
            if message.partition() in self.next:
                self.astray(message.partition())
        elif error.fatal() or error.code() in FENCED or error.code() == KafkaError._FATAL:
            raise self.fence(error.str())
        elif error.code() in {KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED}:
            raise TransportError(f"{self.settings.broker} refuses group {self.settings.group!r}: {error.str()}")
        else:
            log.warning("%s: %s", self.settings.broker, error.str())

    def _place(self, partition: int, offset: int = 0) -> TopicPartition:
        return TopicPartition(self.settings.input, partition, offset)

    def pause(self, partition: int) -> None:
        self._consumer.pause([self._place(partition)])

    def seek(self, partition: int, offset: int) -> None:
        place = self._place(partition, offset)
        try:
            self._consumer.seek(place)
        except KafkaException:  # refused where the fetch ended in an error, as after an offset that is not held
            self._consumer.incremental_unassign([place])
            self._consumer.incremental_assign([place])
        self._consumer.resume([place])

    def committed(self, partition: int) -> Position | None:
        found = self._ask(lambda: self._consumer.committed([self._place(partition)], timeout=5.0))[0]
        if found.error is not None:
            raise TransportError(f"no committed position of {self.settings.input}/{partition}: {found.error}")
        return None if found.offset < 0 else Position(found.offset, found.metadata or "")

    def bounds(self, partition: int) -> tuple[int, int]:
        low, high = self._ask(lambda: self._consumer.get_watermark_offsets(self._place(partition), timeout=5.0))
        return low, high

    def _ask(self, question: Any) -> Any:
        """Ask the broker, again while it is away. Raises `BrokerUnreachable` at the start-up time-out."""
        deadline = time.monotonic() + self.settings.startup_timeout_s
        while True:
            try:
                return question()
            except KafkaException as error:
                with contextlib.suppress(KafkaException):
                    self._consumer.list_topics(self.settings.input, timeout=1.0)  # who leads may have changed
                if time.monotonic() > deadline:
                    reason = error.args[0].name()
                    text = unreachable_text(self.settings.broker, self.settings.startup_timeout_s, reason)
                    raise BrokerUnreachable(text) from error
                time.sleep(0.05)

    def restore(self, partition: int) -> Iterator[tuple[list[bytes], list[bytes]]]:
        topic = self.settings.state_topic
        ends = self._admin.ends(topic, [partition])
        return self._restore(topic, partition, ends)

    def _restore(self, topic: str, partition: int, ends: dict[int, int]) -> Iterator[tuple[list[bytes], list[bytes]]]:
        for page in read_to(self.settings.broker, self._properties, topic, {partition: 0}, ends):
            yield [message.key() or b"" for message in page], [message.value() or b"" for message in page]

    def lag(self) -> dict[int, int]:
        found = {}
        for partition, following in self.next.items():
            _, high = self._consumer.get_watermark_offsets(self._place(partition), cached=True)
            found[partition] = max(0, high - following)
        return found

    # -- writing ------------------------------------------------------------------------------------------------------

    def produce(self, topic: str, records: Outgoing) -> None:
        try:
            produce(self._producer, topic, records)
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

    def _retry(self, call: str, timeout_s: float, *arguments: Any) -> None:
        """One call of the transaction's protocol, again while its error says so. Raises what the error means."""
        deadline = time.monotonic() + timeout_s
        while True:
            left_s = max(0.1, deadline - time.monotonic())
            try:
                self._limited(getattr(self._producer, call), *arguments, min(COMMIT_SLICE_S, left_s))
                return
            except KafkaException as error:
                if not error.args[0].retriable() or error.args[0].fatal() or error.args[0].txn_requires_abort():
                    raise self._explain(error) from error
                if time.monotonic() > deadline:
                    text = unreachable_text(self.settings.broker, timeout_s, f"{call}: {error.args[0].name()}")
                    raise BrokerUnreachable(text) from error
                log.warning("%s: no answer yet from %s, asking again", call, self.settings.broker)

    def _limited(self, call: Any, *arguments: Any) -> None:
        """Make a call on a thread of its own: some of librdkafka's outlast their own time limit, even for ever."""
        done: Future[None] = Future()

        def run() -> None:
            try:
                done.set_result(call(*arguments))
            except BaseException as error:
                done.set_exception(error)

        threading.Thread(target=run, name="edge-rnn-transaction", daemon=True).start()
        try:
            done.result(arguments[-1] + STUCK_S)
        except TimeoutError as error:
            self._stuck = self._renew = True
            raise CommitAborted(
                f"librdkafka's {call.__name__} does not return; what became of the transaction is read from the broker"
            ) from error

    def _explain(self, failure: KafkaException) -> TransportError:
        error = failure.args[0]
        if error.code() in FENCED and (error.fatal() or error.code() != KafkaError.INVALID_PRODUCER_EPOCH):
            return self.fenced_or_late(error.str())
        if error.fatal():
            if "fenced" in error.str().lower():
                return self.fenced_or_late(error.str())
            # This producer is of no more use. So it is after an abort before the broker knew of the transaction
            # (seen as INVALID_TXN_STATE). What is committed is read from the broker before anything is sent again.
            self._renew = True
        return CommitAborted(f"the transaction of group {self.settings.group!r} failed: {error.str()}")

    def close(self, *, leave: bool = False) -> None:
        self._closing = True
        if self._producer is not None:
            if self._begun and self._fenced is None and not self._stuck:
                try:
                    self._limited(self._producer.abort_transaction, CLOSE_S)
                except (KafkaException, CommitAborted) as error:
                    log.debug("abort at the end: %s", error)
            if not self._stuck:
                self._producer.purge()
            self._producer = None
        if self._consumer is not None:
            # On a thread of its own: it has been seen not to return. The group expects a static member back anyway.
            closing = threading.Thread(target=self._consumer.close, name="edge-rnn-close", daemon=True)
            closing.start()
            closing.join(CLOSE_S)
            if closing.is_alive():
                log.warning("librdkafka's consumer does not close within %g s; left to the end of the process", CLOSE_S)
            self._consumer = None
            if leave:
                from runtime.transports.kafka_leave import leave_group

                leave_group(self.settings)
