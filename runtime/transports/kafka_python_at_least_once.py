"""kafka-python without transactions: outputs are flushed, then the positions are committed to the group."""

from __future__ import annotations

from collections.abc import Mapping

from edge_rnn.contract.errors import CommitAborted, TransportError
from runtime.transports.kafka_member import COMMIT_DEADLINE_S
from runtime.transports.kafka_python import KafkaPythonTransport
from runtime.transports.kafka_python_clients import KafkaProducer, errors, make, place_of
from runtime.transports.kafka_python_produce import Window
from runtime.transports.protocol import Position


class KafkaPythonAtLeastOnce(KafkaPythonTransport):
    """As `KafkaPythonTransport`, but what is sent is seen at once, and seen again where a commit failed."""

    def _make_producer(self, timeout_s: float) -> None:
        timeout_ms = int(self.settings.transaction_timeout_s * 1000)
        self._producer = make(
            KafkaProducer,
            self.settings.broker,
            self._properties,
            timeout_s,
            enable_idempotence=True,
            delivery_timeout_ms=timeout_ms,
            request_timeout_ms=timeout_ms - 500,
            linger_ms=5,
            batch_size=128 << 10,
            allow_auto_create_topics=False,
        )
        self._window = Window(self._producer, self._acknowledged)

    def _begin_producing(self) -> None:
        """There are no transactions to take."""

    def begin_transaction(self) -> None:
        """There is none to begin."""

    def send_offsets(self, positions: Mapping[int, Position]) -> None:
        self._flush()
        places = {self._place(partition): place_of(position) for partition, position in positions.items()}
        try:
            self._consumer.commit(places, timeout_ms=COMMIT_DEADLINE_S * 1000)
        except errors.KafkaError as error:
            raise self._explain(error) from error

    def commit_transaction(self) -> None:
        self._flush()

    def abort_transaction(self) -> None:
        self._window.clear()
        self._renew = True  # what it still holds must not be sent

    def _explain(self, error: Exception) -> TransportError:
        if isinstance(error, errors.FencedInstanceIdError):
            return self.fence(error)
        return CommitAborted(f"group {self.settings.group!r} did not commit: {error!r}")

    def close(self, *, leave: bool = False) -> None:
        self._begun = False  # no transaction to abort
        super().close(leave=leave)
