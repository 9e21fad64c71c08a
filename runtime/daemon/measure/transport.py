"""A group's member without a model: what poll, send and commit cost, on the embedded broker or a given one."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from edge_rnn.contract.errors import TransportError
from runtime.core.batch import Outgoing, RecordBatch
from runtime.transports.connect import open_broker, open_transport
from runtime.transports.protocol import Client, MemberSettings, Position, Transport

PARTITIONS = 4
COMMIT_S = 0.1
POLL_RECORDS = 4096
SILENCE_S = 30.0


@dataclass(frozen=True, slots=True)
class TransportFigures:
    """Microseconds a record. ``poll_us`` and ``send_us`` are the calling thread's processor time: waiting overlaps.

    ``commit_us`` is time on the clock, as nothing of the epoch goes on meanwhile; ``waited_us`` time on the
    clock in which a poll waited; ``client_us`` processor time of the client's own threads. ``events_per_s``:
    consume and produce one after the other, with a commit every `COMMIT_S`.
    """

    broker: str
    client: str
    records: int
    poll_us: float
    send_us: float
    commit_us: float
    waited_us: float
    client_us: float
    events_per_s: float


@dataclass(frozen=True, slots=True)
class Place:
    """A broker with topics of our own in it: `input` holds records already, `output` is empty."""

    broker: str
    client: Client
    input: str
    output: str
    group: str
    records: int


@contextmanager
def filled_place(
    broker: str | None, client: Client, values: Sequence[bytes], records: int, streams: int
) -> Iterator[Place]:
    """Topics with ``records`` records of ``streams`` streams, which go again, on ``broker`` or in a temporary file.

    Raises `BrokerUnreachable`, `TransportError`.
    """
    tag = f"edge-rnn-bench-{uuid.uuid4().hex[:12]}"
    with TemporaryDirectory(prefix="edge-rnn-bench-") as folder:
        place = Place(
            broker or f"sqlite:{Path(folder) / 'bench.sqlite'}", client, f"{tag}-in", f"{tag}-out", tag, records
        )
        store = open_broker(place.broker, client)
        try:
            for topic in (place.input, place.output):
                store.create_topic(topic, PARTITIONS)
            numbers = np.arange(records) % streams
            for begin in range(0, records, 20_000):
                some = numbers[begin : begin + 20_000]
                store.write(
                    place.input,
                    Outgoing(
                        partitions=(some % PARTITIONS).astype(np.int32),
                        timestamps=np.full(some.size, -1, np.int64),
                        keys=[b"s%07d" % number for number in some.tolist()],
                        values=[values[(begin + index) % len(values)] for index in range(some.size)],
                    ),
                )
            yield place
        finally:
            store.close()
            if broker is not None:
                _remove(broker, [place.input, place.output, f"{tag}-state"])


def _remove(broker: str, topics: Sequence[str]) -> None:
    """Delete our topics from a broker that was given; one that it does not let go is left."""
    if broker.startswith("sqlite:"):
        return
    from kafka.admin import KafkaAdminClient
    from kafka.errors import KafkaError

    admin = KafkaAdminClient(bootstrap_servers=broker)
    try:
        for topic in topics:
            try:
                admin.delete_topics([topic], timeout_ms=10_000)
            except KafkaError:
                continue
    finally:
        admin.close()


class _Serving:
    """A listener that serves every partition from where the group is."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.waiting: list[int] = []
        self.failed = ""

    def assigned(self, partitions: Sequence[int]) -> None:
        self.waiting += partitions

    def revoked(self, partitions: Sequence[int]) -> None:
        self.failed = "partitions were revoked"

    def lost(self, partitions: Sequence[int]) -> None:
        self.failed = "partitions were lost"

    def serve(self) -> None:
        for partition in self.waiting:
            position = self._transport.committed(partition)
            self._transport.serve(partition, position.offset if position else self._transport.bounds(partition)[0])
        self.waiting.clear()


def consume_and_produce(place: Place, answer: Callable[[RecordBatch], list[bytes | None]]) -> TransportFigures:
    """Take all of the place's records to its output, with ``answer``'s values. Raises `TransportError`."""
    transport = open_transport(
        MemberSettings(
            broker=place.broker,
            group=f"{place.group}-pass",
            input=place.input,
            output=place.output,
            instance="bench",
            client=place.client,
        )
    )
    serving = _Serving(transport)
    spent = dict.fromkeys(("poll", "send", "commit", "waited"), 0.0)
    transport.open(serving)
    try:
        done, began, cpu_began, own_began, opened = 0, 0.0, 0.0, 0.0, 0.0
        positions: dict[int, Position] = {}
        silent_since = time.monotonic()
        while done < place.records:
            serving.serve()
            before, own_before = time.perf_counter(), time.thread_time()
            batch = transport.poll(POLL_RECORDS, 0.2)
            after, own_after = time.perf_counter(), time.thread_time()
            if serving.failed:
                raise TransportError(f"{place.broker}: {serving.failed} while it was measured; measure it alone")
            if len(batch):
                silent_since = time.monotonic()
            elif time.monotonic() - silent_since > SILENCE_S:
                raise TransportError(f"{place.broker}: no record for {SILENCE_S:g} s, {place.records - done} are left")
            if not began:
                if not len(batch):
                    continue
                began = opened = before
                cpu_began, own_began = time.process_time(), own_before
            spent["poll"] += own_after - own_before
            spent["waited"] += max(0.0, (after - before) - (own_after - own_before))
            positions.update({partition: Position(offset) for partition, offset in batch.positions.items()})
            if len(batch):
                transport.send(Outgoing(batch.partitions, batch.timestamps, batch.keys, answer(batch)), "output")
                done += len(batch)
            spent["send"] += time.thread_time() - own_after
            sent = time.perf_counter()
            if done >= place.records or sent - opened > COMMIT_S:
                transport.commit(positions)
                positions, opened = {}, time.perf_counter()
                spent["commit"] += opened - sent
        seconds = time.perf_counter() - began
        client_s = max(0.0, time.process_time() - cpu_began - (time.thread_time() - own_began))
    finally:
        transport.close(leave=True)
    each = 1e6 / place.records
    return TransportFigures(
        broker="embedded" if place.broker.startswith("sqlite:") else place.broker,
        client="sqlite" if place.broker.startswith("sqlite:") else place.client,
        records=place.records,
        poll_us=spent["poll"] * each,
        send_us=spent["send"] * each,
        commit_us=spent["commit"] * each,
        waited_us=spent["waited"] * each,
        client_us=client_s * each,
        events_per_s=place.records / seconds,
    )
