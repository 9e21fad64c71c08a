"""An operator's access to a group's states: look at them while it runs, drop them while it does not."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType

import numpy as np

from edge_rnn.contract.errors import StateError, TopicError, UsageError
from edge_rnn.contract.fingerprint import FINGERPRINT_BYTES
from edge_rnn.contract.signature import Manifest
from runtime.checkpoint.dropping import Drop
from runtime.checkpoint.inventory import PartitionInventory, StoredStream, take_inventory
from runtime.checkpoint.snapshot import EXTRA, HEADER, decode_snapshots
from runtime.daemon.settings import RunSettings
from runtime.transports.groups import Rewrite, open_groups

READ_TIMEOUT_S = 30.0
LOOK_EVERY_S = 0.5


class StateSettings(RunSettings, frozen=True, kw_only=True):
    """A daemon's settings, from the same places; input and output need not be named."""

    input: str = ""
    output: str = ""


@dataclass(frozen=True, slots=True)
class GroupInventory:
    """A group's states. ``input`` is empty where nothing is committed and none was named."""

    group: str
    input: str
    state_topic: str
    members: list[str]
    partitions: list[PartitionInventory]

    def streams(self, key: bytes, partition: int | None = None) -> list[StoredStream]:
        """What is stored of one stream, for any model."""
        return [stream for here in self.chosen(partition) for stream in here.streams if stream.key == key]

    def chosen(self, partition: int | None) -> list[PartitionInventory]:
        """All partitions, or the one that was named. Raises `UsageError` where it is not there."""
        if partition is None:
            return self.partitions
        if partition >= len(self.partitions):
            raise UsageError(
                f"--partition is {partition}, but {self.state_topic!r} has {len(self.partitions)} partitions, from 0 on"
            )
        return [self.partitions[partition]]


class StateTools:
    """Connections to one group's broker; a context manager. Raises `UsageError`, `TransportError`."""

    def __init__(self, settings: StateSettings) -> None:
        if not settings.group:
            raise UsageError("--group is missing; give it, or set EDGE_RNN_GROUP, or group in the --config file")
        self._group, self._settings = settings.group, settings
        self._state_topic = f"{settings.group}-state"
        self._groups, self._broker = open_groups(
            settings.broker, settings.client, settings.startup_timeout_s, settings.kafka
        )

    def __enter__(self) -> StateTools:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._groups.close()
        self._broker.close()

    def look(self) -> GroupInventory:
        """What is stored and committed now. Raises `TopicError`, `StateError`, `UsageError`."""
        partitions = self._broker.partitions(self._state_topic)
        if partitions is None:
            raise TopicError(
                f"no topic {self._state_topic!r} on {self._settings.broker}: group {self._group!r} has never run there;"
                " check --group and --broker"
            )
        members = self._groups.members(self._group)
        committed = self._groups.positions(self._group)
        source = self._settings.input or self._only(sorted(committed))
        records = self._broker.read(self._state_topic, timeout_s=READ_TIMEOUT_S)
        found = take_inventory(records, committed.get(source, {}), partitions)
        return GroupInventory(self._group, source, self._state_topic, members, found)

    def _only(self, topics: Sequence[str]) -> str:
        if len(topics) > 1:
            raise UsageError(f"group {self._group!r} has read {', '.join(topics)}; name one with --input")
        return topics[0] if topics else ""

    def await_no_members(self, wait_s: float) -> None:
        """Return once nobody is in the group, at the latest after ``wait_s``."""
        deadline = time.monotonic() + wait_s
        while self._groups.members(self._group) and time.monotonic() < deadline:
            time.sleep(min(LOOK_EVERY_S, wait_s))

    def drop(self, seen: GroupInventory, drops: Sequence[Drop]) -> None:
        """Write them, each partition's at once. Raises `StateError` where the group runs or went on since ``seen``."""
        for each in drops:
            was = seen.partitions[each.partition].position
            self._groups.rewrite(
                Rewrite(
                    group=self._group,
                    input=seen.input,
                    state_topic=self._state_topic,
                    records=each.records,
                    was={} if was is None else {each.partition: was},
                    positions={} if each.position is None else {each.partition: each.position},
                )
            )


def state_values(stream: StoredStream, manifest: Manifest) -> dict[str, np.ndarray]:
    """The named states of a snapshot, ``dtype[*row_shape]`` each. Raises `StateError` where it is damaged."""
    where = f"partition {stream.partition}"
    size = manifest.state_bytes
    if not stream.value[1] & EXTRA:  # samples left over and the like lie behind the states, as part of the rows
        size = max(size, len(stream.value) - HEADER.itemsize)
    snapshots, _ = decode_snapshots([stream.stored_key], [stream.value], size, where)
    row = np.ascontiguousarray(snapshots.rows).reshape(-1)
    values, at = {}, 0
    for spec in manifest.states:
        values[spec.name] = row[at : at + spec.row_bytes].copy().view(spec.dtype).reshape(spec.row_shape)
        at += spec.row_bytes
    return values


def only_fingerprint(streams: Sequence[StoredStream], fingerprint: str) -> list[StoredStream]:
    """Those of one model. Raises `StateError` naming both where there are none."""
    chosen = [stream for stream in streams if stream.fingerprint == fingerprint]
    if not chosen:
        found = ", ".join(sorted({stream.fingerprint for stream in streams}))
        raise StateError(
            f"the bundle with these settings has fingerprint {fingerprint}, the snapshot is of {found}; give the bundle"
            " that wrote it, and the daemon's --mode, --codec, --idle-reset and --null-key"
        )
    return chosen


def parse_fingerprint(text: str) -> str:
    """A fingerprint as the command line gives it. Raises `UsageError`."""
    if len(text) != 2 * FINGERPRINT_BYTES or set(text.lower()) - set("0123456789abcdef"):
        raise UsageError(f"--fingerprint is {text!r}, expected {2 * FINGERPRINT_BYTES} hexadecimal digits")
    return text.lower()
