"""The snapshot record: one stream's state as key and value of the state topic.

Key: state fingerprint (8 bytes), then the stream's key. Value, little-endian::

    version u8 = 1 | flags u8 | reserved u16 | crc32 u32 | offset i64 | timestamp i64 | rows

``crc32`` covers the stored key, the flags and everything behind the checksum. ``offset`` is the last input
offset applied, ``timestamp`` the stream's newest record time in milliseconds since 1970 (-1: none).
``rows`` holds the states in manifest order. With the flag `CLOSED` there are no rows: the stream was
evicted, its records up to ``offset`` are over, and it begins anew with the next.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edge_rnn.contract.errors import StateError
from edge_rnn.contract.fingerprint import FINGERPRINT_BYTES

VERSION = 1
CLOSED = 1
"""Flag of a closing: a record that takes the place of an evicted stream's snapshot."""

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


@dataclass(frozen=True, slots=True)
class Closed:
    """Closings in columns: n keys, and up to which offset their streams' records are over, int64[n]."""

    keys: list[bytes]
    offsets: np.ndarray


def encode_snapshots(fingerprint: bytes, snapshots: Snapshots, flags: int = 0) -> tuple[list[bytes], list[bytes]]:
    """The state topic's keys and values, in the order given."""
    n = len(snapshots.keys)
    header = np.zeros(n, HEADER)
    header["version"] = VERSION
    header["flags"] = flags
    header["offset"] = snapshots.offsets
    header["timestamp"] = snapshots.timestamps
    table = np.concatenate([header.view(np.uint8).reshape(n, HEADER.itemsize), snapshots.rows], axis=1)
    keys = [fingerprint + key for key in snapshots.keys]
    width = table.shape[1]
    data = memoryview(table.reshape(-1).data)  # the table's own bytes, not a copy
    crc32, start = zlib.crc32, _crc_of_flags(flags)
    checks = [crc32(data[i * width + _CHECKED_FROM : (i + 1) * width], crc32(key, start)) for i, key in enumerate(keys)]
    table[:, 4:8] = np.array(checks, "<u4").view(np.uint8).reshape(n, 4)
    whole = table.tobytes()
    return keys, [whole[i * width : (i + 1) * width] for i in range(n)]


def encode_closings(fingerprint: bytes, closings: Mapping[bytes, int]) -> tuple[list[bytes], list[bytes]]:
    """The state topic's keys and values of evicted streams' closings."""
    n = len(closings)
    offsets = np.fromiter(closings.values(), np.int64, n)
    return encode_snapshots(
        fingerprint, Snapshots(list(closings), np.empty((n, 0), np.uint8), offsets, np.full(n, -1)), CLOSED
    )


def decode_snapshots(
    keys: Sequence[bytes], values: Sequence[bytes], state_bytes: int, where: str
) -> tuple[Snapshots, Closed]:
    """Read what is stored of one fingerprint back; ``where`` names the partition in errors.

    Raises `StateError` for a version, a length or a checksum that does not fit.
    """
    closed = [len(value) > 1 and value[1] & CLOSED for value in values]
    if not any(closed):
        return _decode(keys, values, HEADER.itemsize + state_bytes, where, 0), Closed([], np.empty(0, np.int64))
    parts = [
        _decode(
            [key for key, flag in zip(keys, closed, strict=True) if bool(flag) == wanted],
            [value for value, flag in zip(values, closed, strict=True) if bool(flag) == wanted],
            HEADER.itemsize + (0 if wanted else state_bytes),
            where,
            CLOSED if wanted else 0,
        )
        for wanted in (False, True)
    ]
    return parts[0], Closed(parts[1].keys, parts[1].offsets)


def _decode(keys: Sequence[bytes], values: Sequence[bytes], width: int, where: str, flags: int) -> Snapshots:
    n = len(keys)
    data = b"".join(values)
    if set(map(len, values)) - {width} or set(data[::width]) - {VERSION} or set(data[1::width]) - {flags}:
        raise _misfit(keys, values, width, where)
    table = np.frombuffer(data, np.uint8).reshape(n, width)
    header = np.ascontiguousarray(table[:, : HEADER.itemsize]).view(HEADER).reshape(n)
    bytes_, crc32, start = memoryview(data), zlib.crc32, _crc_of_flags(flags)
    for index, (key, expected) in enumerate(zip(keys, header["crc32"].tolist(), strict=True)):
        if crc32(bytes_[index * width + _CHECKED_FROM : (index + 1) * width], crc32(key, start)) != expected:
            raise StateError(
                f"{where}: the snapshot of stream {key[FINGERPRINT_BYTES:]!r} is damaged (its checksum does not fit)"
            )
    return Snapshots(
        keys=[key[FINGERPRINT_BYTES:] for key in keys],
        rows=table[:, HEADER.itemsize :],
        offsets=header["offset"].astype(np.int64),
        timestamps=header["timestamp"].astype(np.int64),
    )


def _crc_of_flags(flags: int) -> int:
    """What the checksum begins with: 0 without flags."""
    return zlib.crc32(bytes([flags])) if flags else 0


def _misfit(keys: Sequence[bytes], values: Sequence[bytes], width: int, where: str) -> StateError:
    """The error for the first value of another version or length."""
    for key, value in zip(keys, values, strict=True):
        stream = key[FINGERPRINT_BYTES:]
        if value[:1] != bytes([VERSION]):
            return StateError(
                f"{where}: the snapshot of stream {stream!r} has version {value[0] if value else 'none'},"
                f" expected {VERSION}; run the edge-rnn version that wrote it"
            )
        if len(value) != width:
            return StateError(
                f"{where}: the snapshot of stream {stream!r} has {len(value)} bytes, expected {width};"
                " it was not written by this model"
            )
    return StateError(f"{where}: a snapshot has flags that are not known; run the edge-rnn version that wrote it")
