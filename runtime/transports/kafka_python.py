"""The transport over kafka-python: pure Python, installed by default."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from edge_rnn.contract.errors import BrokerUnreachable, CommitAborted, TopicError, TransportError, UsageError
from runtime.core.batch import Outgoing, RecordBatch
from runtime.transports.kafka_member import (
    ASK_AGAIN_MS,
    COMMIT_DEADLINE_S,
    HEARTBEAT_MS,
    METADATA_MS,
    KafkaMember,
    log,
    unreachable_text,
)
from runtime.transports.kafka_python_clients import (
    CooperativeStickyAssignor,
    KafkaConsumer,
    KafkaProducer,
    KafkaPythonAdmin,
    TopicPartition,
    checked,
    errors,
    make,
    place_of,
    to_batch,
)
from runtime.transports.kafka_python_listener import Bridge, rebalance_listener
from runtime.transports.kafka_python_produce import Window, end_producer
from runtime.transports.kafka_python_reader import KafkaPythonReader, reached
from runtime.transports.kafka_reader import PartitionReader, Restores
from runtime.transports.kafka_topics import prepare_topics
from runtime.transports.protocol import MemberSettings, Position

WAIT_SLICE_S = 0.5
LATE_S = 10.0
"""How long after its time limit a broker may end a transaction: it looks so often."""

CLOSE_S = 5.0
POLL_SLICE_S = 0.25
JOIN_SLICE_S = 60.0
FORBIDDEN = (
    errors.TransactionalIdAuthorizationFailedError,
    errors.ClusterAuthorizationFailedError,
    errors.TopicAuthorizationFailedError,
    errors.GroupAuthorizationFailedError,
    errors.UnsupportedVersionError,
)
FENCED = (errors.ProducerFencedError, errors.InvalidProducerEpochError, errors.FencedInstanceIdError)


class KafkaPythonTransport(KafkaMember):
    """See `Transport`."""

    def __init__(self, settings: MemberSettings) -> None:
        super().__init__(settings)
        self._properties = checked(settings.properties)
        self._admin: KafkaPythonAdmin | None = None
        self._producer: Any = None
        self._consumer: Any = None
        self._epoch: Any = None
        self._offered = False
        self._bridge = Bridge()
        self._restores = Restores(self._make_reader)

    def make_clients(self) -> None:
        settings = self.settings
        deadline = time.monotonic() + settings.startup_timeout_s
        self._admin = KafkaPythonAdmin(settings.broker, settings.properties, settings.startup_timeout_s)
        self.counts = prepare_topics(self._admin, settings)
        self._make_producer(max(1.0, deadline - time.monotonic()))
        self._take_member()

    def join(self, timeout_s: float) -> None:
        self._begin_producing()
        self._subscribe()

    def _make_consumer(self, **membership: object) -> Any:
        settings = self.settings
        return make(
            KafkaConsumer,
            settings.broker,
            self._properties,
            settings.startup_timeout_s,
            group_id=settings.group,
            enable_auto_commit=False,
            isolation_level="read_committed",
            auto_offset_reset="none",
            fetch_max_bytes=16 << 20,
            heartbeat_interval_ms=HEARTBEAT_MS,
            metadata_max_age_ms=METADATA_MS,
            retry_backoff_ms=ASK_AGAIN_MS,
            allow_auto_create_topics=False,
            **membership,
        )

    def _take_member(self) -> None:
        self._consumer = self._make_consumer(
            group_instance_id=self.settings.instance, partition_assignment_strategy=(CooperativeStickyAssignor,)
        )

    def _subscribe(self) -> None:
        self._consumer.subscribe(
            [self.settings.input],
            listener=rebalance_listener(
                self._bridge,
                self._consumer._net,
                self._on_assign,
                lambda partitions, lost: self.gives_up(partitions, lost=lost),
            ),
        )

    def _make_producer(self, timeout_s: float) -> None:
        settings = self.settings
        self._producer = make(
            KafkaProducer,
            settings.broker,
            self._properties,
            timeout_s,
            transactional_id=self.transactional_id,
            transaction_timeout_ms=int(settings.transaction_timeout_s * 1000),
            delivery_timeout_ms=int(settings.transaction_timeout_s * 1000),
            request_timeout_ms=int(settings.transaction_timeout_s * 1000) - 500,
            linger_ms=5,
            batch_size=128 << 10,
            max_block_ms=max(1000, int(timeout_s * 1000)),
            retry_backoff_ms=ASK_AGAIN_MS,
            allow_auto_create_topics=False,
        )
        self._window = Window(self._producer, self._acknowledged)

    def _begin_producing(self) -> None:
        """Take the transactions from an older self; for as long as the producer was told that it may block."""
        settings = self.settings
        try:
            self._producer.init_transactions()
        except errors.KafkaTimeoutError as error:
            text = unreachable_text(settings.broker, settings.startup_timeout_s, "transaction coordinator")
            raise BrokerUnreachable(text) from error
        except errors.KafkaError as error:
            raise self._explain(error) from error

    def renew_producer(self) -> None:
        end_producer(self._producer)
        self._make_producer(COMMIT_DEADLINE_S)
        self._begin_producing()

    def renew_consumer(self) -> None:
        self._bridge.close()
        self._consumer.close(autocommit=False, timeout_ms=CLOSE_S * 1000)
        self._bridge = Bridge()
        self._take_member()
        self._subscribe()

    def member_id(self) -> str | None:
        return None if self._consumer is None else self._consumer.group_metadata().member_id or None

    def _on_assign(self, partitions: list[int]) -> None:
        """On the client's thread: no fetch may begin before the daemon says where."""
        for partition in partitions:
            self._consumer.pause(self._place(partition))
            self._consumer.seek(self._place(partition), 0)
        self.gained(partitions)

    # -- reading ------------------------------------------------------------------------------------------------------

    def poll(self, max_records: int, timeout_s: float) -> RecordBatch:
        deadline = time.monotonic() + timeout_s
        if self._expelled is not None:
            self.expelled(self._expelled)
        while True:
            left_s = min(POLL_SLICE_S, max(0.0, deadline - time.monotonic()))
            found = self._poll_once(max_records, left_s)
            news = self.tell()
            good = {place.partition: some for place, some in found.items() if place.partition in self.next}
            given = {partition: some[-1].offset + 1 for partition, some in good.items()}
            ends = {partition: reached(self._consumer, self._place(partition)) for partition in self.next}
            positions = self.advance(given, ends)
            if positions or news or time.monotonic() >= deadline:
                return to_batch([record for some in good.values() for record in some], positions)

    def _poll_once(self, max_records: int, timeout_s: float) -> dict[Any, list[Any]]:
        """One poll. A join is seen to its end in the background: kafka-python drops one that ends between two polls."""
        coordinator = self._consumer._coordinator
        try:
            if self._bridge.busy or coordinator.need_rejoin():
                self._bridge.run(self._join, timeout_s)
                return {}
            found: dict[Any, list[Any]] = self._bridge.run(
                lambda: self._consumer.poll(timeout_ms=timeout_s * 1000, max_records=max_records)
            )
            if coordinator.need_rejoin():
                self._bridge.run(self._join, 0)
            return found
        except errors.OffsetOutOfRangeError as error:
            for place in error.args[0]:
                if place.partition in self.next:
                    self.astray(place.partition)
        except FENCED as error:
            self.expelled(error)
        except (errors.TopicAuthorizationFailedError, errors.GroupAuthorizationFailedError) as error:
            raise TransportError(f"{self.settings.broker} refuses group {self.settings.group!r}: {error}") from error
        except (errors.KafkaError, OSError) as error:
            log.debug("poll: %r", error)
            time.sleep(min(timeout_s, 0.05))
        return {}

    def _join(self) -> None:
        """On the helper thread: until the group has been joined, or the consumer closed."""
        coordinator = self._consumer._coordinator
        while coordinator.need_rejoin() and not self._bridge.closed.is_set():
            coordinator.poll(timeout_ms=JOIN_SLICE_S * 1000)

    def _place(self, partition: int) -> TopicPartition:
        return TopicPartition(self.settings.input, partition)

    def pause(self, partition: int) -> None:
        self._consumer.pause(self._place(partition))
        self._consumer.seek(self._place(partition), 0)

    def seek(self, partition: int, offset: int) -> None:
        try:
            self._consumer.seek(self._place(partition), offset)
            self._consumer.resume(self._place(partition))
        except (ValueError, AssertionError, errors.KafkaError) as error:  # it went meanwhile: the next poll tells
            raise CommitAborted(f"partition {partition} of {self.settings.input!r} went to another member") from error

    def committed(self, partition: int) -> Position | None:
        found = self._ask(lambda: self._consumer.committed(self._place(partition), metadata=True, timeout_ms=5000))
        if found is None or found.offset < 0:
            return None
        return Position(found.offset, (found.metadata or "").rstrip("\0"))  # librdkafka's clients add a zero

    def bounds(self, partition: int) -> tuple[int, int]:
        place = self._place(partition)
        first = self._ask(lambda: self._consumer.beginning_offsets([place], timeout_ms=5000))[place]
        return first, self._ask(lambda: self._consumer.end_offsets([place], timeout_ms=5000))[place]

    def offset_at(self, partition: int, timestamp_ms: int) -> int:
        place = self._place(partition)
        found = self._ask(lambda: self._consumer.offsets_for_times({place: max(0, timestamp_ms)}))[place]
        return self.bounds(partition)[1] if found is None else int(found.offset)

    def _ask(self, question: Callable[[], Any]) -> Any:
        """Ask the broker, again while it is away. Raises `BrokerUnreachable` at the start-up time-out."""
        deadline = time.monotonic() + self.settings.startup_timeout_s
        while True:
            try:
                return question()
            except (errors.KafkaError, OSError) as error:
                if isinstance(error, FENCED):
                    self.expelled(error)
                    raise CommitAborted(f"joining group {self.settings.group!r} anew") from error
                if time.monotonic() > deadline:
                    reason = type(error).__name__
                    text = unreachable_text(self.settings.broker, self.settings.startup_timeout_s, reason)
                    raise BrokerUnreachable(text) from error
                time.sleep(0.05)

    def restore(self, partition: int) -> Iterator[tuple[list[bytes], list[bytes]]]:
        assert self._admin is not None
        end = self._admin.ends(self.settings.state_topic, [partition])[partition]
        pages = self._restores.restore(partition, end)
        return (([each.key or b"" for each in page], [each.value or b"" for each in page]) for page in pages)

    def _make_reader(self) -> PartitionReader:
        settings = self.settings
        return KafkaPythonReader(settings.broker, self._properties, settings.state_topic, settings.startup_timeout_s)

    def lag(self) -> dict[int, int]:
        found = {}
        for partition, following in self.next.items():
            found[partition] = max(0, (self._consumer.highwater(self._place(partition)) or 0) - following)
        return found

    # -- writing ------------------------------------------------------------------------------------------------------

    def produce(self, topic: str, records: Outgoing) -> None:
        try:
            self._window.send(topic, records)
        except ValueError as error:
            raise TopicError(f"cannot send to {topic!r}: {error}") from error
        except errors.KafkaError as error:
            raise self._explain(error) from error

    def _flush(self) -> None:
        """Wait until all that was sent is delivered."""
        try:
            self._window.flush()
        except errors.KafkaError as error:
            raise self._explain(error) from error

    def _acknowledged(self, sent: Any) -> None:
        try:
            sent.get(timeout=self.settings.transaction_timeout_s + CLOSE_S)
        except errors.KafkaError as error:
            raise self._explain(error) from error

    def begin_transaction(self) -> None:
        try:
            self._producer.begin_transaction()
            self._epoch, self._offered = self._producer._transaction_manager.producer_id_and_epoch, False
        except errors.KafkaError as error:
            raise self._explain(error) from error

    def send_offsets(self, positions: Mapping[int, Position]) -> None:
        places = {self._place(partition): place_of(position) for partition, position in positions.items()}
        manager, metadata = self._producer._transaction_manager, self._consumer.group_metadata()
        self._offered = True
        self._wait("send offsets", lambda: manager.send_offsets_to_transaction(places, metadata))

    def commit_transaction(self) -> None:
        self._flush()
        manager = self._producer._transaction_manager
        self._wait("commit", manager.begin_commit)
        if manager.producer_id_and_epoch != self._epoch:
            # A failed batch made the client take a new epoch, which aborts the transaction at the broker; the commit
            # that waited behind it then succeeds without a word to the broker (kafka-python 3.0.12).
            raise CommitAborted(f"the transaction of group {self.settings.group!r} failed: a batch was not delivered")
        self._window.clear()

    def abort_transaction(self) -> None:
        """Abort, if nothing has gone wrong yet; otherwise a new producer is needed.

        A producer that has taken a new epoch, or failed to send, sends what it still holds (records and offsets) in
        the next transaction, though it belongs to the one that was aborted (kafka-python 3.0.12).
        """
        manager = self._producer._transaction_manager
        state = manager._current_state.name
        spoilt = self._offered or self._window.failures or manager.producer_id_and_epoch != self._epoch
        self._window.clear()
        if spoilt or state != "IN_TRANSACTION":
            raise CommitAborted(f"kafka-python's producer is in state {state} and may hold some of it")
        self._wait("abort", manager.begin_abort)

    def _wait(self, what: str, ask: Callable[[], Any]) -> None:
        """A step of the transaction's protocol: the client's own calls would wait without end.

        They may do so because the client has lost the request (seen with 3.0.12 after a connection was refused). A
        transaction that is open for much longer than its time limit is ended by the broker anyhow, so that it is
        given up then; what became of it, a new producer learns from the broker before anything is sent again.
        """
        try:
            result = ask()
            self._producer._sender.wakeup()
            deadline = time.monotonic() + self.settings.transaction_timeout_s + LATE_S
            while not result.wait(timeout_ms=WAIT_SLICE_S * 1000):
                if self._window.failures:
                    raise self._window.failures[0]
                if time.monotonic() > deadline:
                    self._renew = True
                    raise CommitAborted(f"{what}: no answer from {self.settings.broker}")
        except errors.KafkaError as error:
            raise self._explain(error) from error

    def _explain(self, error: Exception) -> TransportError:
        manager = self._producer._transaction_manager
        cause = manager.last_error if manager.has_error() and manager.last_error is not None else error
        if isinstance(cause, FENCED) or isinstance(error, FENCED):
            return self.refused(cause)
        if isinstance(cause, FORBIDDEN):
            return TransportError(
                f"{self.settings.broker} refuses the transactions of {self.transactional_id!r}: {cause}"
            )
        if manager.has_fatal_error():  # this producer is of no more use; what is committed, the broker tells
            self._renew = True
        if isinstance(error, errors.KafkaConfigurationError):
            return TransportError(str(UsageError(error)))
        return CommitAborted(f"the transaction of group {self.settings.group!r} failed: {cause!r}")

    def close(self, *, leave: bool = False) -> None:
        self._closing.set()
        self._group.close()
        self._bridge.close()
        if self._producer is not None:
            manager = self._producer._transaction_manager
            if self._begun and not manager.has_fatal_error():
                try:
                    result = manager.begin_abort()
                    self._producer._sender.wakeup()
                    result.wait(timeout_ms=CLOSE_S * 1000)
                except errors.KafkaError as error:
                    log.debug("abort at the end: %s", error)
            end_producer(self._producer, CLOSE_S)
            self._producer = None
        self._restores.close()
        if self._consumer is not None:
            self._consumer.close(autocommit=False, timeout_ms=CLOSE_S * 1000)
            self._consumer = None
            if leave:
                from runtime.transports.kafka_leave import leave_group

                leave_group(self.settings)
        if self._admin is not None:
            self._admin.close()
            self._admin = None
