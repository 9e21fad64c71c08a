"""One connection to the embedded store: topics, appends and reads; transactions that wait their turn."""

from __future__ import annotations

import contextlib
import sqlite3
import time
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_rnn.contract.errors import BrokerUnreachable, TopicError, TransportError
from runtime.core.batch import BY_KEY, Outgoing
from runtime.transports.names import check_topic_name, other_partitions
from runtime.transports.protocol import Position
from runtime.transports.sqlite_rows import Row, encode_headers, row_bytes
from runtime.transports.sqlite_schema import APPEND, APPLICATION_ID, DELETE_KEY, REPLACE, TABLES, VERSION

RETENTION_MS = 7 * 24 * 3600 * 1000
RETENTION_BYTES = 1 << 30
WAL_BYTES = 64 << 20
MOST_PAGES = 4294967294


class StoreFull(TransportError):
    """The store has reached its size limit, or its disk is full; nothing of the transaction was written."""


class StoreBusy(TransportError):
    """Another process held the store's write lock for longer than this one waits."""


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic of the store, as its row says."""

    id: int
    name: str
    partitions: int
    compacted: bool
    retention_ms: int
    retention_bytes: int


class Store:
    """A connection. ``share`` is the part of the size limit that this connection may fill.

    Producers get a smaller share than daemons, so that a store full of input can still take the outputs.
    """

    def __init__(self, path: Path, *, create: bool, wait_s: float = 10.0, share: float = 1.0) -> None:
        self.path = path
        self._share = share
        self._turn = 0
        if not create and not path.is_file():
            raise BrokerUnreachable(f"no store at {path}; create its topics first, or run with --create-topics")
        try:
            self.db = sqlite3.connect(path, timeout=wait_s, isolation_level=None, check_same_thread=False)
        except sqlite3.Error as error:
            raise BrokerUnreachable(f"cannot open the store {path}: {error}") from error
        try:
            self._prepare(create)
        except sqlite3.Error as error:
            self.db.close()
            raise BrokerUnreachable(f"cannot open the store {path}: {error}") from error
        except BaseException:
            self.db.close()
            raise

    def _prepare(self, create: bool) -> None:
        self.db.execute("PRAGMA synchronous = FULL")
        self.db.execute(f"PRAGMA journal_size_limit = {WAL_BYTES}")
        if create and not self._identity()[2]:
            self.db.execute("PRAGMA journal_mode = WAL")
            self.db.execute("BEGIN IMMEDIATE")
            if not self._identity()[2]:
                for statement in TABLES.split(";"):
                    self.db.execute(statement)
                self.db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                self.db.execute(f"PRAGMA user_version = {VERSION}")
            self.db.execute("COMMIT")
        application, version, _ = self._identity()
        if application != APPLICATION_ID:
            raise TransportError(f"{self.path} is not a store of edge-rnn; name another file")
        if version != VERSION:
            raise TransportError(f"store {self.path} has schema {version}, expected {VERSION}; use a newer edge-rnn")
        self.apply_limit()

    def _identity(self) -> tuple[int, int, int]:
        """Application id, schema version, number of tables."""
        application = self.db.execute("PRAGMA application_id").fetchone()[0]
        version = self.db.execute("PRAGMA user_version").fetchone()[0]
        return application, version, self.db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]

    # -- size ---------------------------------------------------------------------------------------------------------

    def apply_limit(self) -> None:
        """Take over the size limit that the store's settings name."""
        row = self.db.execute("SELECT value FROM settings WHERE name = 'max_bytes'").fetchone()
        pages = MOST_PAGES
        if row is not None and row[0]:
            pages = max(16, int(row[0] * self._share) // self.db.execute("PRAGMA page_size").fetchone()[0])
        self.db.execute(f"PRAGMA max_page_count = {pages}")

    def set_limit(self, max_bytes: int) -> None:
        """Limit the file to ``max_bytes``, 0 for no limit but the disk's; other connections see it when they fill."""
        with self.transaction():
            self.db.execute("INSERT OR REPLACE INTO settings VALUES ('max_bytes', ?)", (max_bytes,))
        self.apply_limit()

    # -- transactions -------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def transaction(self, *, begun: bool = False) -> Iterator[None]:
        """A write transaction: committed at the end, rolled back on an error. Raises `StoreFull`, `StoreBusy`.

        ``begun``: `begin` has been called already.
        """
        if not begun:
            self.begin()
        try:
            yield
            self.commit()
        except BaseException as error:
            self.rollback()
            if isinstance(error, sqlite3.Error):
                raise self.explain(error) from error
            raise

    def begin(self) -> None:
        """Wait for the write lock. Raises `StoreBusy`."""
        try:
            self.db.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            raise self.explain(error) from error

    def commit(self) -> None:
        """Make the transaction durable."""
        self.db.execute("COMMIT")

    def rollback(self) -> None:
        """Drop the transaction, if one is open."""
        if self.db.in_transaction:
            self.db.execute("ROLLBACK")

    def explain(self, error: sqlite3.Error) -> TransportError:
        """What an error of SQLite means here."""
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_FULL:
            return StoreFull(
                f"store {self.path} is full: raise its size limit, shorten the retention of its topics, "
                "or make room on its disk"
            )
        if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            return StoreBusy(f"store {self.path} is held by another writer for too long; end that process")
        return TransportError(f"store {self.path}: {error}")

    # -- topics -------------------------------------------------------------------------------------------------------

    def topic(self, name: str) -> Topic | None:
        """The topic of that name, or ``None``."""
        row = self.db.execute("SELECT * FROM topics WHERE name = ?", (name,)).fetchone()
        return None if row is None else Topic(row[0], row[1], row[2], bool(row[3]), row[4], row[5])

    def make_topic(self, name: str, partitions: int, *, compacted: bool = False) -> Topic:
        """Create a topic, or find it as expected. Raises `TopicError` where it is otherwise."""
        check_topic_name(name)
        if partitions < 1:
            raise TopicError(f"topic {name!r} cannot have {partitions} partitions, expected at least 1")
        with self.transaction():
            found = self.topic(name)
            if found is None:
                keep = (0, 0) if compacted else (RETENTION_MS, RETENTION_BYTES)
                row = self.db.execute(
                    "INSERT INTO topics (name, partitions, compacted, retention_ms, retention_bytes)"
                    " VALUES (?, ?, ?, ?, ?)",
                    (name, partitions, compacted, *keep),
                )
                self.db.executemany(
                    "INSERT INTO partitions (topic, partition) VALUES (?, ?)",
                    [(row.lastrowid, partition) for partition in range(partitions)],
                )
                found = self.topic(name)
                assert found is not None
        if found.partitions != partitions:
            raise other_partitions(name, found.partitions, partitions)
        if found.compacted != compacted:
            raise TopicError(f"topic {name!r} is {'' if found.compacted else 'not '}compacted; use another name")
        return found

    def set_retention(self, topic: Topic, *, retention_ms: int | None, retention_bytes: int | None) -> None:
        """Change how long and how much of a topic is kept; ``None`` leaves it, 0 is no limit."""
        self.db.execute(
            "UPDATE topics SET retention_ms = coalesce(?, retention_ms),"
            " retention_bytes = coalesce(?, retention_bytes) WHERE id = ?",
            (retention_ms, retention_bytes, topic.id),
        )

    def ends(self, topic: Topic) -> dict[int, tuple[int, int]]:
        """First offset held and next offset, by partition."""
        rows = self.db.execute(
            "SELECT partition, first_offset, next_offset FROM partitions WHERE topic = ?", (topic.id,)
        )
        return {partition: (first, following) for partition, first, following in rows}

    # -- records ------------------------------------------------------------------------------------------------------

    def append(self, topic: Topic, records: Outgoing) -> None:
        """Append within the open transaction. Raises `TopicError` for a partition that is not there."""
        if not len(records):
            return
        partitions = self._partitions(topic, records)
        if partitions.min() < 0 or partitions.max() >= topic.partitions:
            raise TopicError(
                f"topic {topic.name!r} has no partition {partitions.max()}, expected 0 to {topic.partitions - 1}"
            )
        now = time.time_ns() // 1_000_000
        stamps = np.where(records.timestamps < 0, now, records.timestamps).tolist()
        headers = records.headers or [[]] * len(records)
        notes = [encode_headers(each) if each else None for each in headers]
        ends = self.ends(topic)
        offsets = np.empty(len(records), np.int64)
        sizes = np.fromiter(map(row_bytes, records.keys, records.values, notes), np.int64, len(records))
        for partition in np.unique(partitions).tolist():
            mine = partitions == partition
            count, following = int(mine.sum()), ends[partition][1]
            offsets[mine] = np.arange(following, following + count)
            self.db.execute(
                "UPDATE partitions SET next_offset = ?, bytes = bytes + ? WHERE topic = ? AND partition = ?",
                (following + count, 0 if topic.compacted else int(sizes[mine].sum()), topic.id, partition),
            )
        places = partitions.tolist()
        rows = (
            (topic.id, partition, offset, stamp, now, key, value, note)
            for partition, offset, stamp, key, value, note in zip(
                places, offsets.tolist(), stamps, records.keys, records.values, notes, strict=True
            )
        )
        if not topic.compacted:
            self.db.executemany(APPEND, rows)
            return
        last = {(row[1], row[5]): row for row in rows}
        self.db.executemany(REPLACE, [row for row in last.values() if row[6]])
        self.db.executemany(DELETE_KEY, [(row[0], row[1], row[5]) for row in last.values() if not row[6]])

    def _partitions(self, topic: Topic, records: Outgoing) -> np.ndarray:
        """The partition of each record: as given, else by the key's CRC-32, else in turn."""
        partitions = np.asarray(records.partitions, np.int32).copy()
        for index in np.flatnonzero(partitions == BY_KEY).tolist():
            key = records.keys[index]
            if key is None:
                self._turn += 1
                partitions[index] = self._turn % topic.partitions
            else:
                partitions[index] = zlib.crc32(key) % topic.partitions
        return partitions

    def rows(self, topic: Topic, partition: int, start: int, limit: int) -> list[Row]:
        """Up to ``limit`` committed records from offset ``start`` on: offset, timestamp, key, value, headers."""
        table = "compacted_records" if topic.compacted else "records"
        return self.db.execute(
            f"SELECT offset, timestamp, key, value, headers FROM {table}"
            " WHERE topic = ? AND partition = ? AND offset >= ? ORDER BY offset LIMIT ?",
            (topic.id, partition, start, limit),
        ).fetchall()

    def first_at(self, topic: Topic, partition: int, timestamp_ms: int) -> int | None:
        """Offset of the first record that has this time or a later one; ``None``: there is none."""
        found: int | None = self.db.execute(
            "SELECT min(offset) FROM records WHERE topic = ? AND partition = ? AND timestamp >= ?",
            (topic.id, partition, timestamp_ms),
        ).fetchone()[0]
        return found

    def snapshots(self, topic: Topic, partition: int, after: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        """Up to ``limit`` keys and values of a compacted topic, in the order of the keys, from behind ``after`` on."""
        return self.db.execute(
            "SELECT key, value FROM compacted_records WHERE topic = ? AND partition = ? AND key > ?"
            " ORDER BY key LIMIT ?",
            (topic.id, partition, after, limit),
        ).fetchall()

    def put_positions(self, group: str, topic: Topic, positions: Mapping[int, Position]) -> None:
        """Set a group's positions, within the open transaction."""
        self.db.executemany(
            "INSERT OR REPLACE INTO positions VALUES (?, ?, ?, ?, ?)",
            [(group, topic.id, partition, each.offset, each.metadata) for partition, each in positions.items()],
        )

    def close(self) -> None:
        """Roll back what is open and close the connection."""
        self.rollback()
        self.db.close()
