"""The snapshot record: one stream's state as key and value of the state topic.

Key: state fingerprint (8 bytes), then the stream's key. Value, little-endian::

    version u8 = 1 | flags u8 | reserved u16 | crc32 u32 | offset i64 | timestamp i64 | rows

``crc32`` covers the stored key, the flags and everything behind the checksum. ``offset`` is the last input
offset applied, ``timestamp`` the stream's newest record time in milliseconds since 1970 (-1: none).
``rows`` holds the states in manifest order. With the flag `CLOSED` there are no rows: the stream was
evicted, its records up to ``offset`` are over, and it begins anew with the next. With the flag `EXTRA`
there is more behind the rows, of any length: a stream's dialogue, where it generates.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edge_rnn.contract.errors import StateError
from edge_rnn.contract.fingerprint import FINGERPRINT_BYTES
from runtime.core.column import Cells, Column

VERSION = 1
CLOSED = 1
"""Flag of a closing: a record that takes the place of an evicted stream's snapshot."""

EXTRA = 2
"""Flag of a snapshot with something behind its rows."""

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
    """Snapshots in columns: n keys, ``rows`` uint8[n, state_bytes], ``offsets`` and ``timestamps`` int64[n].

    ``extras``: what is behind each one's rows, if anything.
    """

    keys: list[bytes]
    rows: np.ndarray
    offsets: np.ndarray
    timestamps: np.ndarray
    extras: list[bytes] | None = None


@dataclass(frozen=True, slots=True)
class Closed:
    """Closings in columns: n keys, and up to which offset their streams' records are over, int64[n]."""

    keys: list[bytes]
    offsets: np.ndarray


def encode_snapshots(fingerprint: bytes, snapshots: Snapshots, flags: int = 0) -> tuple[list[bytes], Cells]:
    """The state topic's keys and values, in the order given."""
    if snapshots.extras is not None:
        keys, plain = encode_snapshots(fingerprint, dataclasses.replace(snapshots, extras=None), EXTRA)
        return keys, [
            _checked(key, value or b"", extra) for key, value, extra in zip(keys, plain, snapshots.extras, strict=True)
        ]
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
    return keys, Column(table.reshape(-1), np.arange(n) * width, np.full(n, width))


def encode_closings(fingerprint: bytes, closings: Mapping[bytes, int]) -> tuple[list[bytes], Cells]:
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
    width = HEADER.itemsize + state_bytes
    flags = {value[1] if len(value) > 1 else 0 for value in values}
    read = _decode_extended if EXTRA in flags else _decode_plain
    if CLOSED not in flags:
        return read(keys, values, width, where), Closed([], np.empty(0, np.int64))
    closed = [i for i, value in enumerate(values) if len(value) > 1 and value[1] == CLOSED]
    others = np.setdiff1d(np.arange(len(keys)), closed).tolist()
    over = _decode([keys[i] for i in closed], [values[i] for i in closed], HEADER.itemsize, where, CLOSED)
    rest = read([keys[i] for i in others], [values[i] for i in others], width, where)
    return rest, Closed(over.keys, over.offsets)


def _decode_plain(keys: Sequence[bytes], values: Sequence[bytes], width: int, where: str) -> Snapshots:
    """Snapshots that have nothing behind their rows."""
    return _decode(keys, values, width, where, 0)


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
            raise _damaged(key, where)
    return _columns(keys, table, None)


def _columns(keys: Sequence[bytes], table: np.ndarray, extras: list[bytes] | None) -> Snapshots:
    """``table``: uint8[n, header and rows]."""
    header = np.ascontiguousarray(table[:, : HEADER.itemsize]).view(HEADER).reshape(len(keys))
    return Snapshots(
        keys=[key[FINGERPRINT_BYTES:] for key in keys],
        rows=table[:, HEADER.itemsize :],
        offsets=header["offset"].astype(np.int64),
        timestamps=header["timestamp"].astype(np.int64),
        extras=extras,
    )


def _damaged(key: bytes, where: str) -> StateError:
    return StateError(
        f"{where}: the snapshot of stream {key[FINGERPRINT_BYTES:]!r} is damaged (its checksum does not fit)"
    )


def _checked(key: bytes, value: bytes, extra: bytes) -> bytes:
    """A snapshot's value with something behind its rows, and a checksum over both."""
    whole = value[_CHECKED_FROM:] + extra
    check = zlib.crc32(whole, zlib.crc32(key, _crc_of_flags(EXTRA)))
    return value[:4] + check.to_bytes(4, "little") + whole


def _decode_extended(keys: Sequence[bytes], values: Sequence[bytes], width: int, where: str) -> Snapshots:
    """Snapshots that all have something behind their rows."""
    for key, value in zip(keys, values, strict=True):
        if len(value) < width or value[0] != VERSION or value[1] != EXTRA:
            raise _misfit([key], [value[:width]], width, where)
        if _checked(key, value[:width], value[width:]) != value:
            raise _damaged(key, where)
    table = np.frombuffer(b"".join(value[:width] for value in values), np.uint8).reshape(len(keys), width)
    return _columns(keys, table, [value[width:] for value in values])


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
