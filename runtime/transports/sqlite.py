"""The embedded transport: topics, positions, snapshots and outputs in one SQLite file, one transaction an epoch.

For a device without a broker, for the demo and for tests. One daemon a group (`sqlite_lock`), any
number of producers and readers in other processes (`sqlite_broker`, or any client of SQLite: see
`sqlite_schema`). What retention removes is told in `sqlite_retention`.

Properties: ``sqlite.max.bytes`` (of the file; producers are refused at nine tenths of it, so that
the daemon can still commit), ``sqlite.retention.ms`` and ``sqlite.retention.bytes`` (of this
member's topics; 0: no limit).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from edge_rnn.contract.errors import CommitAborted, Fenced, TopicError, UsageError
from runtime.core.batch import Outgoing, RecordBatch
from runtime.transports.names import NEW_INPUT_PARTITIONS, check_names, missing_topic
from runtime.transports.protocol import METADATA_BYTES, Destination, Listener, MemberSettings, Position, TopicIds
from runtime.transports.sqlite_lock import GroupLock
from runtime.transports.sqlite_retention import apply_properties, enforce
from runtime.transports.sqlite_rows import Row, to_batch
from runtime.transports.sqlite_store import Store, StoreBusy, StoreFull, Topic

PREFIX = "sqlite:"
PENDING_BYTES = 32 << 20
RESTORE_RECORDS = 4096
RETENTION_EVERY_S = 0.5
IDLE_WAIT_S = 0.005
PROPERTIES = {"sqlite.max.bytes", "sqlite.retention.ms", "sqlite.retention.bytes"}


def store_path(url: str) -> Path:
    """The path that ``sqlite:PATH`` names. Raises `UsageError`."""
    path = url.removeprefix(PREFIX)
    if path == url or not path:
        raise UsageError(f"{url!r} names no store, expected sqlite:PATH")
    return Path(path)


class SqliteTransport:
    """The one member of a group of an embedded store; all partitions are its own. See `Transport`."""

    def __init__(self, settings: MemberSettings) -> None:
        check_names(settings)
        unknown = sorted(set(settings.properties) - PROPERTIES)
        if unknown:
            raise UsageError(f"unknown property {unknown[0]!r} for {settings.broker}; known: {sorted(PROPERTIES)}")
        self._settings = settings
        self._path = store_path(settings.broker)
        self._next: dict[int, int] = {}
        self._astray: set[int] = set()
        self._pending: list[tuple[Topic, Outgoing]] = []
        self._pending_bytes = 0
        self._spilled = False
        self._told = False
        self._first = 0
        self._retention_due = 0.0
        self._fenced: Fenced | None = None
        self._lock: GroupLock | None = None
        self._connections: list[Store] = []

    def prepare(self) -> None:
        """Nothing that takes time."""

    def open(self, listener: Listener) -> None:
        settings = self._settings
        self._listener = listener
        self._writer = self._connect(create=settings.create_topics)
        try:
            self._lock = GroupLock(self._path, settings.group)
            self._reader = self._connect(create=False)
            self._input = self._open_topic(settings.input, NEW_INPUT_PARTITIONS)
            count = self._input.partitions
            self._topics: dict[Destination, Topic] = {"output": self._open_topic(settings.output, count)}
            if settings.dead_letter is not None:
                self._topics["dead-letter"] = self._open_topic(settings.dead_letter, count)
            self._topics["state"] = self._writer.make_topic(settings.state_topic, count, compacted=True)
            apply_properties(self._writer, (self._input, *self._topics.values()), settings.properties)
            with self._writer.transaction():
                self._epoch = self._writer.db.execute(
                    "INSERT INTO groups VALUES (?, 1, ?) ON CONFLICT (name)"
                    " DO UPDATE SET epoch = epoch + 1, instance = excluded.instance RETURNING epoch",
                    (settings.group, settings.instance),
                ).fetchone()[0]
        except BaseException:
            self.close()
            raise

    def _connect(self, *, create: bool) -> Store:
        store = Store(self._path, create=create, wait_s=self._settings.transaction_timeout_s)
        self._connections.append(store)
        return store

    def _open_topic(self, name: str, partitions: int) -> Topic:
        found = self._writer.topic(name)
        if found is None and self._settings.create_topics:
            found = self._writer.make_topic(name, partitions)
        if found is None:
            raise missing_topic(name, self._settings.broker)
        if found.compacted:
            raise TopicError(f"topic {name!r} holds the snapshots of a group; name another topic")
        return found

    @property
    def input_partitions(self) -> int:
        return self._input.partitions

    @property
    def output_partitions(self) -> int:
        return self._topics["output"].partitions

    @property
    def topic_ids(self) -> TopicIds:
        return TopicIds(str(self._input.id), str(self._topics["state"].id))

    # -- reading ------------------------------------------------------------------------------------------------------

    def poll(self, max_records: int, timeout_s: float) -> RecordBatch:
        deadline = time.monotonic() + timeout_s
        if not self._told:
            self._told = True
            self._listener.assigned(range(self._input.partitions))
            deadline = 0.0
        pause_s = IDLE_WAIT_S / 8
        while True:
            version = self._data_version()
            batch = self._fetch(max_records)
            if len(batch):
                return batch
            while self._data_version() == version:
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    return batch
                time.sleep(min(pause_s, left_s))
                pause_s = min(2 * pause_s, IDLE_WAIT_S)

    def _data_version(self) -> int:
        """A number that changes with each commit of another connection."""
        return int(self._reader.db.execute("PRAGMA data_version").fetchone()[0])

    def _fetch(self, max_records: int) -> RecordBatch:
        for partition in sorted(self._astray):
            self._lose(partition)
        served = sorted(self._next)
        self._first += 1
        turn = self._first % max(1, len(served))
        served = served[turn:] + served[:turn]
        found: dict[int, list[Row]] = {}
        room = max_records
        for index, partition in enumerate(served):
            quota = -(-room // (len(served) - index))
            rows = self._reader.rows(self._input, partition, self._next[partition], quota) if quota else []
            if rows and rows[0][0] > self._next[partition]:
                self._lose(partition)
            elif rows:
                found[partition] = rows
                room -= len(rows)
        found = {partition: rows for partition, rows in found.items() if partition in self._next}
        positions = {partition: rows[-1][0] + 1 for partition, rows in found.items()}
        self._next.update(positions)
        return to_batch(found, positions)

    def _lose(self, partition: int) -> None:
        """What this partition has to read next is not held (retention): let the daemon begin it anew."""
        del self._next[partition]
        self._astray.discard(partition)
        self._listener.lost([partition])
        self._listener.assigned([partition])

    def committed(self, partition: int) -> Position | None:
        row = self._reader.db.execute(
            "SELECT offset, metadata FROM positions WHERE group_name = ? AND topic = ? AND partition = ?",
            (self._settings.group, self._input.id, partition),
        ).fetchone()
        return None if row is None else Position(*row)

    def bounds(self, partition: int) -> tuple[int, int]:
        return self._reader.ends(self._input)[partition]

    def offset_at(self, partition: int, timestamp_ms: int) -> int:
        first = self._reader.first_at(self._input, partition, timestamp_ms)
        return self.bounds(partition)[1] if first is None else first

    def restore(self, partition: int) -> Iterator[tuple[list[bytes], list[bytes]]]:
        """As `Transport.restore`; each key comes once, in the order of the keys."""
        after = b""
        while True:  # a statement left open would keep `poll` from seeing new records: each bulk is read whole
            rows = self._reader.snapshots(self._topics["state"], partition, after, RESTORE_RECORDS)
            if not rows:
                return
            after = rows[-1][0]
            yield [row[0] for row in rows], [row[1] for row in rows]

    def serve(self, partition: int, offset: int) -> None:
        first, end = self.bounds(partition)
        if not first <= offset <= end:
            self._astray.add(partition)
        else:
            self._astray.discard(partition)
        self._next[partition] = offset

    def lag(self) -> dict[int, int]:
        ends = self._reader.ends(self._input)
        return {partition: max(0, ends[partition][1] - offset) for partition, offset in self._next.items()}

    # -- writing ------------------------------------------------------------------------------------------------------

    def send(self, records: Outgoing, to: Destination) -> None:
        """As `Transport.send`. Beyond `PENDING_BYTES` the epoch takes the write lock early: memory stays bounded."""
        self._check_fenced()
        topic = self._topics.get(to)
        if topic is None:
            raise UsageError(f"group {self._settings.group!r} has no {to} topic; name one with --{to}")
        self._pending.append((topic, records))
        self._pending_bytes += sum(len(value or b"") for value in records.values)
        if self._pending_bytes > PENDING_BYTES:
            try:
                if not self._spilled:
                    self._writer.begin()
                    self._spilled = True
                self._write_pending()
            except BaseException as error:
                self._drop()
                if isinstance(error, StoreFull | StoreBusy):
                    raise CommitAborted(str(error)) from error
                raise

    def commit(self, positions: Mapping[int, Position]) -> None:
        """As `Transport.commit`. A full store is waited for, up to ``transaction_timeout_s``, before it aborts."""
        self._check_fenced()
        for partition, position in positions.items():
            if len(position.metadata.encode()) > METADATA_BYTES:
                raise UsageError(
                    f"metadata of partition {partition} has {len(position.metadata)} bytes, expected {METADATA_BYTES}"
                )
        deadline = time.monotonic() + self._settings.transaction_timeout_s
        while True:
            try:
                self._commit_once(positions)
                break
            except (StoreFull, StoreBusy) as error:
                if self._spilled or time.monotonic() > deadline:
                    self._drop()
                    raise CommitAborted(str(error)) from error
                self._retain()
                self._writer.apply_limit()
                time.sleep(0.05)
            except BaseException:
                self._drop()
                raise
        self._drop()
        if time.monotonic() >= self._retention_due:
            self._retain()

    def _commit_once(self, positions: Mapping[int, Position]) -> None:
        """1. The write lock. 2. Are we still the group's daemon? 3. Records. 4. Positions. 5. Durable."""
        store = self._writer
        with store.transaction(begun=self._spilled):
            row = store.db.execute("SELECT epoch FROM groups WHERE name = ?", (self._settings.group,)).fetchone()
            if row is None or row[0] != self._epoch:
                self._fenced = Fenced(f"another daemon has taken over group {self._settings.group!r} of {self._path}")
                raise self._fenced
            self._write_pending(keep=True)
            store.put_positions(self._settings.group, self._input, positions)

    def _write_pending(self, *, keep: bool = False) -> None:
        for topic, records in self._pending:
            self._writer.append(topic, records)
        if not keep:
            self._pending.clear()
            self._pending_bytes = 0

    def abort(self) -> None:
        self._check_fenced()
        self._drop()

    def _drop(self) -> None:
        self._writer.rollback()
        self._pending.clear()
        self._pending_bytes = 0
        self._spilled = False

    def _check_fenced(self) -> None:
        if self._fenced is not None:
            raise self._fenced

    def _retain(self) -> None:
        with contextlib.suppress(StoreFull, StoreBusy):
            for topic in (self._input, *self._topics.values()):
                enforce(self._writer, topic.name)
        self._retention_due = time.monotonic() + RETENTION_EVERY_S

    def close(self, *, leave: bool = False) -> None:
        """As `Transport.close`. The group's lock is free when this returns; ``leave`` changes nothing here."""
        while self._connections:
            self._connections.pop().close()
        if self._lock is not None:
            self._lock.release()
            self._lock = None
