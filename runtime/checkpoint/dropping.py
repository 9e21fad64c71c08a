"""What is written so that states are forgotten, and every stream goes on in a defined way. Pure.

A snapshot that is only deleted would leave its stream with a state from the middle of its input: a
replay begins at ``replay_from``, which counts on the snapshot. So a drop leaves one of these:

- one stream: a closing up to the committed offset, under each model that may come back. A replay
  passes over its records up to there, and it begins anew with its next record. Nothing else changes.
- all of a partition: every record deleted, and ``replay_from`` at the committed offset. There is
  nothing to replay, and every stream begins anew with its next record.
- a model that is not in use: its records deleted, and its ``replay_from`` with them, so that going
  back to it finds a new model.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge_rnn.contract.errors import StateError
from runtime.checkpoint.inventory import PartitionInventory
from runtime.checkpoint.snapshot import encode_closings
from runtime.core.batch import Outgoing
from runtime.transports.protocol import Position


@dataclass(frozen=True, slots=True)
class Drop:
    """For one partition: ``records`` for the state topic, and the position to commit with them.

    ``position`` has the committed offset, always; ``None`` where nothing is committed. ``streams``: how many are dropped.
    """

    partition: int
    records: Outgoing
    position: Position | None
    streams: int


def drop_stream(here: PartitionInventory, key: bytes) -> Drop:
    """Have a stream begin anew with its next record."""
    stored = [stream for stream in here.streams if stream.key == key]
    retained = here.metadata.replay_from if here.metadata is not None and here.position is not None else {}
    keys: list[bytes] = []
    values: list[bytes | None] = []
    for fingerprint in retained:
        assert here.position is not None
        closed_keys, closed_values = encode_closings(bytes.fromhex(fingerprint), {key: here.position.offset - 1})
        keys += closed_keys
        values += closed_values
    stale = [stream.stored_key for stream in stored if stream.fingerprint not in retained]
    return Drop(here.partition, _records(here, [*keys, *stale], [*values, *[None] * len(stale)]), here.position, 1)


def drop_all(here: PartitionInventory) -> Drop:
    """Have every stream of a partition begin anew with its next record."""
    position = here.position
    if position is not None and here.metadata is not None and here.current is not None:
        metadata = dataclasses.replace(here.metadata, replay_from={here.current: position.offset})
        position = Position(position.offset, metadata.encode())
    return _deleted(here, [stream.stored_key for stream in here.streams], position)


def drop_fingerprint(here: PartitionInventory, fingerprint: str) -> Drop:
    """Forget a model. Raises `StateError` where it is the one in use."""
    if fingerprint == here.current:
        raise StateError(
            f"fingerprint {fingerprint} is in use by partition {here.partition}; state drop --all has its streams"
            " begin anew"
        )
    position = here.position
    if position is not None and here.metadata is not None and fingerprint in here.metadata.replay_from:
        others = {name: offset for name, offset in here.metadata.replay_from.items() if name != fingerprint}
        position = Position(position.offset, dataclasses.replace(here.metadata, replay_from=others).encode())
    return _deleted(here, [stream.stored_key for stream in here.of(fingerprint)], position)


def _deleted(here: PartitionInventory, keys: Sequence[bytes], position: Position | None) -> Drop:
    return Drop(here.partition, _records(here, keys, [None] * len(keys)), position, len(keys))


def _records(here: PartitionInventory, keys: Sequence[bytes], values: Sequence[bytes | None]) -> Outgoing:
    return Outgoing(
        partitions=np.full(len(keys), here.partition, np.int32),
        timestamps=np.full(len(keys), -1, np.int64),
        keys=list(keys),
        values=list(values),
    )
