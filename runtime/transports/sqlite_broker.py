"""Plain access to the topics of an embedded store, for producers and readers in any process."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from runtime.core.batch import Outgoing, RecordBatch
from runtime.transports.names import missing_topic
from runtime.transports.sqlite_retention import enforce
from runtime.transports.sqlite_rows import Row, to_batch
from runtime.transports.sqlite_store import Store, StoreFull, Topic

PRODUCER_SHARE = 0.9
"""Part of the size limit that producers may fill; the rest is for the daemon's commits."""

READ_RECORDS = 50_000
RETENTION_EVERY_S = 0.5


class SqliteBroker:
    """See `Broker`. The file is made by the first `create_topic`. ``wait_s``: for the write lock."""

    def __init__(self, path: Path | str, *, wait_s: float = 20.0) -> None:
        self._path = Path(path)
        self._wait_s = wait_s
        self._store: Store | None = None
        self._retention_due = 0.0

    def _open(self, *, create: bool = False) -> Store:
        if self._store is None:
            self._store = Store(self._path, create=create, wait_s=self._wait_s, share=PRODUCER_SHARE)
        return self._store

    def _topic(self, name: str) -> Topic:
        topic = self._open().topic(name)
        if topic is None:
            raise missing_topic(name, f"sqlite:{self._path}")
        return topic

    def create_topic(self, name: str, partitions: int) -> None:
        self._open(create=True).make_topic(name, partitions)

    def partitions(self, topic: str) -> int | None:
        found = self._open().topic(topic)
        return None if found is None else found.partitions

    def set_limits(
        self,
        topic: str | None = None,
        *,
        max_bytes: int | None = None,
        retention_ms: int | None = None,
        retention_bytes: int | None = None,
    ) -> None:
        """Change the size limit of the file, and how long and how much of ``topic`` is kept (0: no limit)."""
        if max_bytes is not None:
            self._open().set_limit(max_bytes)
        if topic is not None:
            self._open().set_retention(self._topic(topic), retention_ms=retention_ms, retention_bytes=retention_bytes)

    def write(self, topic: str, records: Outgoing) -> None:
        """As `Broker.write`: one transaction. Raises `StoreFull` where retention can make no room, `StoreBusy`."""
        found, store = self._topic(topic), self._open()
        try:
            with store.transaction():
                store.append(found, records)
        except StoreFull:
            store.apply_limit()
            enforce(store, topic)
            with store.transaction():
                store.append(found, records)
        if time.monotonic() >= self._retention_due:
            enforce(store, topic)
            self._retention_due = time.monotonic() + RETENTION_EVERY_S

    def read(self, topic: str, *, start: Mapping[int, int] | None = None, timeout_s: float = 10.0) -> RecordBatch:
        """As `Broker.read`; there is no open transaction to wait for."""
        found, store = self._topic(topic), self._open()
        rows: dict[int, list[Row]] = {}
        positions: dict[int, int] = {}
        for partition, (first, end) in store.ends(found).items():
            following = max(first, (start or {}).get(partition, first))
            rows[partition] = []
            while following < end:
                page = store.rows(found, partition, following, READ_RECORDS)
                rows[partition] += [row for row in page if row[0] < end]
                following = page[-1][0] + 1 if page else end
            positions[partition] = max(following, end)
        return to_batch(rows, positions)

    def close(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None
