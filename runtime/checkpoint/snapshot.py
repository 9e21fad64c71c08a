"""The snapshot record: one stream's state as key and value of the state topic.

Key: state fingerprint (8 bytes), then the stream's key. Value, little-endian::

    version u8 = 1 | flags u8 = 0 | reserved u16 | crc32 u32 | offset i64 | timestamp i64 | rows

``crc32`` covers the stored key and everything behind the checksum. ``offset`` is the last input offset applied,
``timestamp`` the stream's newest record time in milliseconds since 1970 (-1: none). ``rows`` holds
the states in manifest order.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge_rnn.contract.errors import StateError
from edge_rnn.contract.fingerprint import FINGERPRINT_BYTES

VERSION = 1
HEADER = np.dtype(
    [
        ("version", "u1"),
        ("flags", "u1"),
        ("reserved", "<u2"),
        ("crc32", "<u4"),
        ("offset", "<i8"),
        ("timestamp", "<i8"),
    ]
)
_CHECKED_FROM = 8  # the checksum covers everything behind itself


@dataclass(frozen=True, slots=True)
class Snapshots:
    """Snapshots in columns: n keys, ``rows`` uint8[n, state_bytes], ``offsets`` and ``timestamps`` int64[n]."""

    keys: list[bytes]
    rows: np.ndarray
    offsets: np.ndarray
    timestamps: np.ndarray


def encode_snapshots(fingerprint: bytes, snapshots: Snapshots) -> tuple[list[bytes], list[bytes]]:
    """The state topic's keys and values, in the order given."""
    n = len(snapshots.keys)
    header = np.zeros(n, HEADER)
    header["version"] = VERSION
    header["offset"] = snapshots.offsets
    header["timestamp"] = snapshots.timestamps
    table = np.concatenate([header.view(np.uint8).reshape(n, HEADER.itemsize), snapshots.rows], axis=1)
    keys = [fingerprint + key for key in snapshots.keys]
    width = table.shape[1]
    data = memoryview(table.reshape(-1).data)  # the table's own bytes, not a copy
    crc32 = zlib.crc32
    checks = [crc32(data[i * width + _CHECKED_FROM : (i + 1) * width], crc32(key)) for i, key in enumerate(keys)]
    table[:, 4:8] = np.array(checks, "<u4").view(np.uint8).reshape(n, 4)
    whole = table.tobytes()
    return keys, [whole[i * width : (i + 1) * width] for i in range(n)]


def decode_snapshots(keys: Sequence[bytes], values: Sequence[bytes], state_bytes: int, where: str) -> Snapshots:
    """Read snapshots of one fingerprint back; ``where`` names the partition in errors.

    Raises `StateError` for a version, a length or a checksum that does not fit.
    """
    n = len(keys)
    width = HEADER.itemsize + state_bytes
    for key, value in zip(keys, values, strict=True):
        stream = key[FINGERPRINT_BYTES:]
        if value[:1] != bytes([VERSION]):
            raise StateError(
                f"{where}: the snapshot of stream {stream!r} has version {value[0] if value else 'none'},"
                f" expected {VERSION}; run the edge-rnn version that wrote it"
            )
        if len(value) != width:
            raise StateError(
                f"{where}: the snapshot of stream {stream!r} has {len(value)} bytes, expected {width};"
                " it was not written by this model"
            )
    table = np.frombuffer(b"".join(values), np.uint8).reshape(n, width)
    header = np.ascontiguousarray(table[:, : HEADER.itemsize]).view(HEADER).reshape(n)
    for index, (key, value) in enumerate(zip(keys, values, strict=True)):
        if zlib.crc32(memoryview(value)[_CHECKED_FROM:], zlib.crc32(key)) != header["crc32"][index]:
            raise StateError(
                f"{where}: the snapshot of stream {key[FINGERPRINT_BYTES:]!r} is damaged (its checksum does not fit)"
            )
    return Snapshots(
        keys=[key[FINGERPRINT_BYTES:] for key in keys],
        rows=table[:, HEADER.itemsize :],
        offsets=header["offset"].astype(np.int64),
        timestamps=header["timestamp"].astype(np.int64),
    )
