"""Kafka's record batches written from columns: all records of a batch at once, in NumPy.

Format: Apache Kafka, "Message format", record batch version 2: each record is its length, attributes,
timestamp and offset relative to the batch's first, key, value and headers; numbers are zigzag varints,
a length of -1 is null.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from runtime.core.column import Column

OVERHEAD = 24
"""At most so many bytes of a record are neither key nor value (below 2 GiB, deltas of timestamps within 17 years)."""


def record_sizes(keys: Column, values: Column) -> np.ndarray:
    """Upper bounds of the bytes that records take in a batch: int64[n]."""
    return np.asarray(np.maximum(keys.lengths, 0) + np.maximum(values.lengths, 0) + OVERHEAD)


def chunks(sizes: np.ndarray, most: int) -> Iterator[tuple[int, int]]:
    """Begin and end of runs of records whose sizes add up to ``most`` at most, or that are one record."""
    ends = np.cumsum(sizes)
    begin = 0
    while begin < sizes.size:
        before = int(ends[begin - 1]) if begin else 0
        end = max(begin + 1, int(np.searchsorted(ends, before + most, side="right")))
        yield begin, end
        begin = end


def encode_records(timestamps: np.ndarray, keys: Column, values: Column) -> np.ndarray:
    """The records of one batch without headers: uint8[bytes]. ``timestamps`` is int64[n] in milliseconds."""
    n = timestamps.size
    before_key = [_zigzag(timestamps - timestamps[0]), _zigzag(np.arange(n)), _zigzag(keys.lengths)]
    before_value = _zigzag(values.lengths)
    key_bytes, value_bytes = np.maximum(keys.lengths, 0), np.maximum(values.lengths, 0)
    body = 1 + sum(map(_varint_size, before_key)) + key_bytes + _varint_size(before_value) + value_bytes + 1
    length = _zigzag(body)
    sizes = _varint_size(length) + body
    out = np.zeros(int(sizes.sum()), np.uint8)
    at = np.cumsum(sizes) - sizes
    at = _write_varint(out, at, length) + 1  # attributes: 0
    for number in before_key:
        at = _write_varint(out, at, number)
    _write_bytes(out, at, keys)
    at = _write_varint(out, at + key_bytes, before_value)
    _write_bytes(out, at, values)  # followed by the number of headers: 0
    return out


def _zigzag(numbers: np.ndarray) -> np.ndarray:
    numbers = numbers.astype(np.int64, copy=False)
    return ((numbers << 1) ^ (numbers >> 63)).view(np.uint64)


def _varint_size(numbers: np.ndarray) -> np.ndarray:
    """Bytes that each number takes: int64[n]."""
    sizes = np.ones(numbers.size, np.int64)
    rest = numbers >> np.uint64(7)
    while rest.any():
        sizes += rest != 0
        rest = rest >> np.uint64(7)
    return sizes


def _write_varint(out: np.ndarray, at: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Write each number at its place; returns the places behind."""
    sizes = _varint_size(numbers)
    for place in range(int(sizes.max(initial=0))):
        these = np.flatnonzero(sizes > place)
        bits = (numbers[these] >> np.uint64(7 * place)) & np.uint64(0x7F)
        more = (sizes[these] > place + 1).astype(np.uint64) << np.uint64(7)
        out[at[these] + place] = (bits | more).astype(np.uint8)
    return np.asarray(at + sizes)


def _write_bytes(out: np.ndarray, at: np.ndarray, column: Column) -> None:
    """Write each entry at its place."""
    sizes = np.maximum(column.lengths, 0)
    if not sizes.any():
        return
    packed = column.packed
    if (sizes == sizes[0]).all():
        out[at[:, None] + np.arange(sizes[0])] = packed.reshape(sizes.size, -1)
        return
    begins = np.cumsum(sizes) - sizes
    for begin, end in pairwise([*range(0, sizes.size, 4096), sizes.size]):
        part = slice(int(begins[begin]), int(begins[end - 1] + sizes[end - 1]))
        out[np.repeat(at[begin:end] - begins[begin:end], sizes[begin:end]) + np.arange(part.start, part.stop)] = packed[
            part
        ]
