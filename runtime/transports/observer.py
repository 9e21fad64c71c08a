"""What a shadow asks of a client: to read a group's input and its outputs without being of the group."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from runtime.core.batch import RecordBatch
from runtime.transports.protocol import Listener, Position, TopicIds


class Observer(Protocol):
    """The reading half of `Transport`, with all partitions of the input, and the output topic beside it.

    ``committed`` and ``restore`` give what the group ``MemberSettings.group`` has; nothing is written anywhere.
    """

    def open(self, listener: Listener) -> None:
        """Connect; the next ``poll`` tells the listener of all partitions.

        Raises `BrokerUnreachable`, and `TopicError` where the input, the output or the state topic is missing.
        """

    @property
    def input_partitions(self) -> int:
        """As in `Transport`."""

    @property
    def output_partitions(self) -> int:
        """As in `Transport`."""

    @property
    def topic_ids(self) -> TopicIds:
        """As in `Transport`."""

    def poll(self, max_records: int, timeout_s: float) -> RecordBatch:
        """As in `Transport`."""

    def committed(self, partition: int) -> Position | None:
        """As in `Transport`."""

    def bounds(self, partition: int) -> tuple[int, int]:
        """As in `Transport`."""

    def offset_at(self, partition: int, timestamp_ms: int) -> int:
        """As in `Transport`."""

    def restore(self, partition: int) -> Iterator[tuple[list[bytes], list[bytes]]]:
        """As in `Transport`."""

    def serve(self, partition: int, offset: int) -> None:
        """As in `Transport`."""

    def lag(self) -> dict[int, int]:
        """As in `Transport`."""

    def output_end(self, partition: int) -> int:
        """The offset after the last committed record of a partition of the output topic."""

    def follow_output(self, partition: int, offset: int) -> None:
        """Read a partition of the output topic from ``offset`` on, instead of where it is read now."""

    def outputs(self) -> RecordBatch:
        """Committed records of the partitions followed that have come since the last call; does not wait."""

    def close(self, *, leave: bool = False) -> None:
        """Free the connections."""
