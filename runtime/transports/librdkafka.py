"""Columns straight out of librdkafka and into it, where the native part is installed (``edge-rnn-native``).

confluent-kafka makes a Python object of each record, and takes each apart and together by calls from
Python. That is most of what a light model costs (docs/performance.md). Here the same client's queues
are read and filled through librdkafka's public interface, many records a call. All else (joining,
rebalances, transactions) stays with confluent-kafka, and so does everything where the native part is
missing or does not fit: see `load`.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib
import logging
import os
import select
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from runtime.core.batch import Header, Headers, Outgoing
from runtime.core.column import Column, as_column

log = logging.getLogger("edge_rnn.transport")

SWITCH = "EDGE_RNN_NATIVE"
"""``0`` in this environment variable leaves the native part unused."""

PAGE = 65_536
"""Most messages taken at once."""

_Pointer = ctypes.c_void_p
_Long = ctypes.c_int64
_SIGNATURES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "columns_bind": (ctypes.c_int, (_Pointer,)),
    "columns_watch": (_Pointer, (_Pointer, ctypes.c_int)),
    "columns_part": (_Pointer, (_Pointer, ctypes.c_char_p, ctypes.c_int32, ctypes.c_int)),
    "columns_release": (None, (_Pointer,)),
    "columns_take": (_Long, (_Pointer, _Long, _Long, _Pointer, _Pointer)),
    "columns_read": (None, (_Pointer, _Long, *(_Pointer,) * 8)),
    "columns_header": (ctypes.c_int, (_Pointer, _Long, *(_Pointer,) * 3)),
    "columns_free": (None, (_Pointer, _Long)),
    "columns_topic": (_Pointer, (_Pointer, ctypes.c_char_p)),
    "columns_forget_topic": (None, (_Pointer,)),
    "columns_produce": (_Long, (_Pointer, _Pointer, _Long, _Long, *(_Pointer,) * 8, _Pointer)),
}
_HAS_HEADERS, _HAS_ERRORS = 1, 2


@functools.cache
def load() -> Any | None:
    """The native part, bound to the librdkafka that confluent-kafka has loaded; ``None``: do without."""
    if os.environ.get(SWITCH) == "0":
        return None
    try:
        path = importlib.import_module("edge_rnn_native").LIBRARY
    except ImportError:
        return None
    importlib.import_module("confluent_kafka")
    try:
        client = next(
            line.split(maxsplit=5)[5].strip()
            for line in Path("/proc/self/maps").read_text().splitlines()
            if "librdkafka" in line
        )
        library = ctypes.CDLL(str(path))
        for name, (result, arguments) in _SIGNATURES.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
        missing = library.columns_bind(ctypes.CDLL(client)._handle)
    except (OSError, AttributeError, StopIteration) as error:
        log.warning("edge-rnn-native is installed but does not fit here, going on without: %r", error)
        return None
    if missing:
        log.warning("librdkafka %s lacks %d functions that edge-rnn-native needs, going on without", client, missing)
        return None
    return library


class Taken(NamedTuple):
    """What was taken out of the queues: records in columns, and what was no record.

    ``errors`` holds code, partition, offset and text of each event. Columns are as in `RecordBatch`.
    """

    partitions: np.ndarray
    offsets: np.ndarray
    timestamps: np.ndarray
    keys: Column
    values: Column
    headers: list[Headers] | None
    errors: list[tuple[int, int, int, str]]


class QueueReader:
    """The partitions of a topic, each out of its own queue of a consumer, which no longer gives them itself.

    Call `part` before a partition is assigned, and `close` before the consumer goes.
    """

    def __init__(self, library: Any, consumer: Any, topic: str) -> None:
        self._library = library
        self._client = _client_of(consumer)
        self._topic = topic.encode()
        self._fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)
        self._parts: dict[int, int] = {}
        self._turn = 0
        self._own = self._library.columns_watch(self._client, self._fd)

    def part(self, partition: int) -> None:
        """Take a partition's queue apart; once is enough for the consumer's life."""
        if partition not in self._parts:
            queue = self._library.columns_part(self._client, self._topic, partition, self._fd)
            if not queue:
                raise RuntimeError(f"librdkafka has no queue for partition {partition}")
            self._parts[partition] = queue

    def wait(self, timeout_s: float) -> None:
        """Until something comes into any queue, the consumer's own too, but ``timeout_s`` at most."""
        self._poll.poll(max(0, round(1000 * timeout_s)))
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._fd)

    def take(self, partitions: Sequence[int], most: int) -> Taken | None:
        """Up to ``most`` messages that have come for these partitions, a fair part of each; ``None``: none have."""
        if not partitions:
            return None
        self._turn += 1
        turn = self._turn % len(partitions)
        queues = np.array([self._parts[each] for each in (*partitions[turn:], *partitions[:turn])], np.uint64)
        most = min(most, PAGE)
        messages, totals = np.empty(most, np.uint64), np.empty(3, np.int64)
        n = self._library.columns_take(_at(queues), queues.size, most, _at(messages), _at(totals))
        if not n:
            return None
        try:
            return self._read(messages, n, *totals.tolist())
        finally:
            self._library.columns_free(_at(messages), n)

    def _read(self, messages: np.ndarray, n: int, key_bytes: int, value_bytes: int, flags: int) -> Taken:
        codes, partitions = np.empty(n, np.int32), np.empty(n, np.int32)
        offsets, timestamps, key_lengths, value_lengths = (np.empty(n, np.int64) for _ in range(4))
        keys, values = np.empty(key_bytes, np.uint8), np.empty(value_bytes, np.uint8)
        columns = (codes, partitions, offsets, timestamps, key_lengths, keys, value_lengths, values)
        self._library.columns_read(_at(messages), n, *(_at(column) for column in columns))
        taken = Taken(
            partitions, offsets, timestamps, _column(keys, key_lengths), _column(values, value_lengths), None, []
        )
        if flags & _HAS_HEADERS:
            headers: list[Headers] = [self._headers(message) for message in messages[:n].tolist()]
            taken = taken._replace(headers=headers)
        return _without_errors(taken, codes) if flags & _HAS_ERRORS else taken

    def _headers(self, message: int) -> list[Header]:
        name, value, size = ctypes.c_char_p(), _Pointer(), ctypes.c_size_t()
        found: list[Header] = []
        places = [ctypes.addressof(each) for each in (name, value, size)]
        while self._library.columns_header(message, len(found), *places) == 0:
            content = ctypes.string_at(value, size.value) if value.value and size.value else b""
            found.append(((name.value or b"").decode(errors="replace"), content))
        return found

    def close(self) -> None:
        """Let go of the queues."""
        for queue in (*self._parts.values(), self._own):
            self._library.columns_release(queue)
        self._parts.clear()
        os.close(self._fd)


class QueueWriter:
    """Fills a producer's queue from columns. Call `close` before the producer goes."""

    def __init__(self, library: Any, producer: Any) -> None:
        self._library = library
        self._client = _client_of(producer)
        self._topics: dict[str, int] = {}

    def produce(self, topic: str, records: Outgoing, begin: int) -> tuple[int, int]:
        """Queue the records from place ``begin`` on: the first that is not queued, and the error's code, 0 for none."""
        if topic not in self._topics:
            self._topics[topic] = self._library.columns_topic(self._client, topic.encode())
        keys, values = as_column(records.keys), as_column(records.values)
        columns = (
            np.ascontiguousarray(records.partitions, np.int32),
            np.maximum(records.timestamps, 0).astype(np.int64, copy=False),
            *(np.ascontiguousarray(each) for each in (keys.data, keys.starts, keys.lengths)),
            *(np.ascontiguousarray(each) for each in (values.data, values.starts, values.lengths)),
        )
        code = np.zeros(1, np.int32)
        place = self._library.columns_produce(
            self._client, self._topics[topic], begin, len(records), *map(_at, columns), _at(code)
        )
        return place, int(code[0])

    def close(self) -> None:
        """Let go of the topics."""
        for topic in self._topics.values():
            self._library.columns_forget_topic(topic)
        self._topics.clear()


def _client_of(client: Any) -> int:
    """librdkafka's client inside a client of confluent-kafka: the first field of its object."""
    found = _Pointer.from_address(id(client) + object.__basicsize__).value
    if not found:
        raise RuntimeError("the client is closed")
    return int(found)


def _at(array: np.ndarray) -> int:
    return int(array.ctypes.data)


def _column(data: np.ndarray, lengths: np.ndarray) -> Column:
    sizes = np.maximum(lengths, 0)
    return Column(data, np.cumsum(sizes) - sizes, lengths)


def _without_errors(taken: Taken, codes: np.ndarray) -> Taken:
    bad, good = np.flatnonzero(codes), np.flatnonzero(codes == 0)
    errors = [
        (
            int(codes[i]),
            int(taken.partitions[i]),
            int(taken.offsets[i]),
            (taken.values[i] or b"").decode(errors="replace"),
        )
        for i in bad.tolist()
    ]
    return Taken(
        taken.partitions[good],
        taken.offsets[good],
        taken.timestamps[good],
        taken.keys.pick(good),
        taken.values.pick(good),
        None if taken.headers is None else [taken.headers[i] for i in good.tolist()],
        errors,
    )
