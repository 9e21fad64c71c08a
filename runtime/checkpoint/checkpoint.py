"""Durable states of a daemon: snapshots in every commit, and partitions brought back from them.

Every stream that changed since the last commit is snapshotted in that commit, so the snapshots of
a partition always stand exactly at its committed offset.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from edge_rnn.contract.errors import StateError
from edge_rnn.contract.fingerprint import FINGERPRINT_BYTES
from runtime.checkpoint.metadata import CommitMetadata, decode_metadata
from runtime.checkpoint.snapshot import Snapshots, decode_snapshots, encode_snapshots
from runtime.core.batch import Outgoing
from runtime.core.processor import Processor
from runtime.transports.protocol import Position, Transport

Answer = Literal["fail", "reset"]
Start = Literal["earliest", "latest"]


@dataclass(frozen=True, slots=True)
class RecoveryPolicy:
    """What to do where state and offsets do not fit together; ``fail`` stops with a message, ``reset`` starts anew.

    ``start``: where a group that has never committed begins.
    """

    start: Start = "earliest"
    on_new_model: Answer = "fail"
    on_moved_offsets: Answer = "fail"
    on_lost_input: Answer = "fail"


@dataclass(frozen=True, slots=True)
class Recovered:
    """A partition brought back: the input offset to go on from, and how many streams have their state.

    ``anew``: this place is not what is committed, so it must be, even if no record follows.
    """

    offset: int
    streams: int
    anew: bool


class Checkpoint:
    """Binds a processor's states to a transport's epochs."""

    def __init__(
        self, processor: Processor, transport: Transport, fingerprint: bytes, policy: RecoveryPolicy, state_bytes: int
    ) -> None:
        self._processor = processor
        self._transport = transport
        self._fingerprint = fingerprint
        self._policy = policy
        self._state_bytes = state_bytes
        self._obsolete: dict[int, list[bytes]] = {}

    def commit(self, offsets: Mapping[int, int]) -> int:
        """Send the snapshots that are due and commit the epoch at these input offsets; returns how many were sent.

        Raises `CommitAborted` or `Fenced`; the states are then ahead of the committed offset.
        """
        due = self._due()
        if len(due):
            self._transport.send(due, "state")
        name = self._fingerprint.hex()
        self._transport.commit(
            {
                partition: Position(offset, CommitMetadata({name: offset}).encode())
                for partition, offset in offsets.items()
            }
        )
        self._processor.streams.settle()
        self._obsolete.clear()
        return len(due)

    def recover(self, partition: int) -> Recovered:
        """Bring a partition's streams back to the committed offset. Raises `StateError`, `TransportError`."""
        where = f"partition {partition}"
        position = self._transport.committed(partition)
        begin, end = self._transport.bounds(partition)
        found, others = self._read(partition)
        reset = False
        if position is None:
            if found or others:
                self._refuse_or(
                    self._policy.on_moved_offsets,
                    f"{where} has snapshots but no committed offset: the group's offsets were deleted;"
                    " --on-moved-offsets reset starts without state",
                )
                reset = True
            offset = begin if self._policy.start == "earliest" else end
        else:
            offset = position.offset
            metadata = decode_metadata(position.metadata, where)
            if metadata is None:
                self._refuse_or(
                    self._policy.on_moved_offsets,
                    f"{where} has committed offset {offset} without our metadata: the offsets were moved, or another"
                    " program uses this group; --on-moved-offsets reset goes on from there without state",
                )
                reset = True
            elif self._fingerprint.hex() not in metadata.replay_from:
                self._refuse_or(
                    self._policy.on_new_model,
                    f"{where} was committed by another model or other settings (fingerprint"
                    f" {', '.join(metadata.replay_from)}, expected {self._fingerprint.hex()});"
                    " --on-new-model reset goes on without state",
                )
                reset = True
            if not begin <= offset <= end:
                self._refuse_or(
                    self._policy.on_lost_input,
                    f"{where} is committed at offset {offset}, its input holds {begin} to {end}: input was"
                    " dropped by retention or the topic was made anew; --on-lost-input reset goes on"
                    " from the nearest offset without state",
                )
                reset = True
                offset = min(max(offset, begin), end)
        if reset:
            self._obsolete[partition] = [*found, *others]
            return Recovered(offset, 0, anew=True)
        snapshots = decode_snapshots(list(found), list(found.values()), self._state_bytes, where)
        beyond = np.flatnonzero(snapshots.offsets >= offset)
        if beyond.size:
            self._refuse_or(
                self._policy.on_moved_offsets,
                f"{where} is committed at offset {offset}, but stream {snapshots.keys[beyond[0]]!r} has seen offset"
                f" {snapshots.offsets[beyond[0]]}: the offsets were moved back; --on-moved-offsets reset goes on from"
                " there without state",
            )
            self._obsolete[partition] = [*found, *others]
            return Recovered(offset, 0, anew=True)
        if snapshots.keys:
            self._processor.restore(partition, snapshots.keys, snapshots.rows, snapshots.offsets, snapshots.timestamps)
        return Recovered(offset, len(snapshots.keys), anew=position is None)

    def drop(self, partitions: list[int]) -> None:
        """Forget these partitions' streams: they are another member's, or will be recovered."""
        self._processor.streams.drop(partitions)
        for partition in partitions:
            self._obsolete.pop(partition, None)

    def _due(self) -> Outgoing:
        """Snapshots of the changed streams, tombstones of the ended and of the obsolete ones."""
        streams = self._processor.streams
        slots, partitions, names = streams.changed()
        rows = self._processor.read_states(slots)
        keys, values = encode_snapshots(
            self._fingerprint, Snapshots(names, rows, streams.offsets[slots], streams.timestamps[slots])
        )
        gone = [(p, self._fingerprint + key) for p, key in streams.ended()]
        fresh = set(zip(partitions.tolist(), keys, strict=True)) if self._obsolete else set()
        gone += [(p, key) for p, old in self._obsolete.items() for key in old if (p, key) not in fresh]
        all_partitions = np.concatenate([partitions, np.array([p for p, _ in gone], np.int32)])
        return Outgoing(
            partitions=all_partitions,
            timestamps=np.full(len(all_partitions), -1, np.int64),
            keys=[*keys, *(key for _, key in gone)],
            values=[*values, *([None] * len(gone))],
        )

    def _read(self, partition: int) -> tuple[dict[bytes, bytes], dict[bytes, bytes]]:
        """The newest snapshot by stored key: those of this fingerprint, and those of others."""
        newest: dict[bytes, bytes] = {}
        for keys, values in self._transport.restore(partition):
            newest.update(zip(keys, values, strict=True))
        ours: dict[bytes, bytes] = {}
        others: dict[bytes, bytes] = {}
        for key, value in newest.items():
            if value:
                (ours if key[:FINGERPRINT_BYTES] == self._fingerprint else others)[key] = value
        return ours, others

    @staticmethod
    def _refuse_or(answer: Answer, message: str) -> None:
        if answer == "fail":
            raise StateError(message)
