"""The groups of an embedded store."""

from __future__ import annotations

from pathlib import Path

from edge_rnn.contract.errors import Fenced, StateError
from runtime.transports.groups import Rewrite, refuse_members, refuse_moved
from runtime.transports.names import missing_topic
from runtime.transports.protocol import Position
from runtime.transports.sqlite_lock import GroupLock
from runtime.transports.sqlite_store import Store


class SqliteGroups:
    """See `Groups`."""

    def __init__(self, path: Path, *, wait_s: float = 20.0) -> None:
        self._path = path
        self._store = Store(path, create=False, wait_s=wait_s)

    def positions(self, group: str) -> dict[str, dict[int, Position]]:
        found: dict[str, dict[int, Position]] = {}
        for topic, partition, offset, metadata in self._store.db.execute(
            "SELECT name, partition, offset, metadata FROM positions JOIN topics ON topics.id = topic"
            " WHERE group_name = ? ORDER BY name, partition",
            (group,),
        ):
            found.setdefault(topic, {})[partition] = Position(offset, metadata)
        return found

    def members(self, group: str) -> list[str]:
        holder = GroupLock.holder(self._path, group)
        return [] if holder is None else [f"process {holder}"]

    def rewrite(self, change: Rewrite) -> None:
        """As `Groups.rewrite`: under the group's lock, in one transaction."""
        refuse_members(change.group, self.members(change.group))
        try:
            lock = GroupLock(self._path, change.group)
        except Fenced as error:
            raise StateError(str(error)) from error
        try:
            state, source = self._store.topic(change.state_topic), self._store.topic(change.input)
            if state is None or source is None:
                missing = change.input if source is None else change.state_topic
                raise missing_topic(missing, f"sqlite:{self._path}")
            with self._store.transaction():
                refuse_moved(change, self.positions(change.group).get(change.input, {}))
                self._store.append(state, change.records)
                self._store.put_positions(change.group, source, change.positions)
        finally:
            lock.release()

    def close(self) -> None:
        self._store.close()
