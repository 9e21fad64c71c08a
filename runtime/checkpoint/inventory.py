"""What a state topic holds, for a person to look at: read from its records alone, without any model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from edge_rnn.contract.errors import StateError
from edge_rnn.contract.fingerprint import FINGERPRINT_BYTES
from runtime.checkpoint.metadata import CommitMetadata, decode_metadata
from runtime.checkpoint.snapshot import CLOSED, HEADER, VERSION
from runtime.core.batch import RecordBatch
from runtime.transports.protocol import Position


@dataclass(frozen=True, slots=True)
class StoredStream:
    """What is stored of one stream for one model (``fingerprint``, hexadecimal).

    ``offset`` is the last input offset applied, ``timestamp`` the newest record time in milliseconds
    since 1970 (-1: none). ``closed``: the stream is over up to there and has no state.
    """

    partition: int
    fingerprint: str
    key: bytes
    offset: int
    timestamp: int
    closed: bool
    stored_key: bytes
    value: bytes

    @property
    def stored_bytes(self) -> int:
        """Bytes of key and value in the state topic."""
        return len(self.stored_key) + len(self.value)


@dataclass(frozen=True, slots=True)
class PartitionInventory:
    """One partition: what is committed, what is stored, and how many deletions wait for compaction."""

    partition: int
    position: Position | None
    metadata: CommitMetadata | None
    streams: list[StoredStream]
    tombstones: int

    @property
    def current(self) -> str | None:
        """The fingerprint of the model that committed last; ``None``: nothing of ours is committed."""
        return next(iter(self.metadata.replay_from), None) if self.metadata is not None else None

    @property
    def fingerprints(self) -> list[str]:
        """Those that are committed, the current one first, then others that only have something stored."""
        committed = list(self.metadata.replay_from) if self.metadata is not None else []
        return list(dict.fromkeys([*committed, *sorted({stream.fingerprint for stream in self.streams})]))

    def of(self, fingerprint: str) -> list[StoredStream]:
        """What one model has stored here."""
        return [stream for stream in self.streams if stream.fingerprint == fingerprint]


def take_inventory(
    records: RecordBatch, positions: Mapping[int, Position], partitions: int
) -> list[PartitionInventory]:
    """All partitions of a state topic, from its committed ``records`` in offset order.

    Raises `StateError` for a record that this version cannot read.
    """
    newest: list[dict[bytes, bytes]] = [{} for _ in range(partitions)]
    for partition, key, value in zip(records.partitions.tolist(), records.keys, records.values, strict=True):
        newest[partition][key or b""] = value or b""
    found = []
    for partition, stored in enumerate(newest):
        position = positions.get(partition)
        metadata = None if position is None else decode_metadata(position.metadata, f"partition {partition}")
        live = {key: value for key, value in stored.items() if value}
        found.append(
            PartitionInventory(partition, position, metadata, _streams(partition, live), len(stored) - len(live))
        )
    return found


def _streams(partition: int, stored: Mapping[bytes, bytes]) -> list[StoredStream]:
    for key, value in stored.items():
        if value[0] != VERSION or len(value) < HEADER.itemsize or len(key) < FINGERPRINT_BYTES:
            raise StateError(
                f"partition {partition}: the snapshot of stream {key[FINGERPRINT_BYTES:]!r} has version {value[0]},"
                f" expected {VERSION}; run the edge-rnn version that wrote it"
            )
    headers = np.frombuffer(b"".join(value[: HEADER.itemsize] for value in stored.values()), HEADER)
    columns = (headers["offset"].tolist(), headers["timestamp"].tolist(), (headers["flags"] & CLOSED).tolist())
    return [
        StoredStream(
            partition,
            key[:FINGERPRINT_BYTES].hex(),
            key[FINGERPRINT_BYTES:],
            offset,
            timestamp,
            bool(closed),
            key,
            value,
        )
        for (key, value), offset, timestamp, closed in zip(stored.items(), *columns, strict=True)
    ]
