"""The observer of an embedded store: without the group's lock, so beside its daemon."""

from __future__ import annotations

from dataclasses import replace

from runtime.core.batch import RecordBatch, no_records
from runtime.transports.kafka_observing import no_group
from runtime.transports.names import NEW_INPUT_PARTITIONS
from runtime.transports.protocol import Listener, MemberSettings
from runtime.transports.sqlite import SqliteTransport
from runtime.transports.sqlite_rows import Row, to_batch

READ_RECORDS = 10_000


class SqliteObserver(SqliteTransport):
    """See `Observer`."""

    def __init__(self, settings: MemberSettings) -> None:
        super().__init__(replace(settings, create_topics=False))
        self._followed: dict[int, int] = {}

    def open(self, listener: Listener) -> None:
        settings = self._settings
        self._listener = listener
        self._writer = self._reader = self._connect(create=False)
        try:
            self._input = self._open_topic(settings.input, NEW_INPUT_PARTITIONS)
            state = self._reader.topic(settings.state_topic)
            if state is None:
                raise no_group(settings)
            self._topics = {"output": self._open_topic(settings.output, self._input.partitions), "state": state}
        except BaseException:
            self.close()
            raise

    def output_end(self, partition: int) -> int:
        return self._reader.ends(self._topics["output"])[partition][1]

    def follow_output(self, partition: int, offset: int) -> None:
        self._followed[partition] = offset

    def outputs(self) -> RecordBatch:
        found: dict[int, list[Row]] = {}
        for partition, offset in self._followed.items():
            if rows := self._reader.rows(self._topics["output"], partition, offset, READ_RECORDS):
                found[partition] = rows
                self._followed[partition] = rows[-1][0] + 1
        return to_batch(found, {}) if found else no_records()
