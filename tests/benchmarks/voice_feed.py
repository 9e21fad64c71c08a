"""Frames of speech for a daemon under measurement: as a backlog that is committed at once, and live, each 32 ms."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from confluent_kafka import Consumer, Producer, TopicPartition

from edge_rnn.contract.bundle import Bundle
from tests.audio.plain_vad import HOP, RATE, probabilities, samples_of
from tests.benchmarks.broker_admin import Admin
from tests.benchmarks.processes import cpu_seconds
from tests.benchmarks.standing import TRANSACTION_MS
from tests.benchmarks.watched import WatchedDaemon
from tests.benchmarks.workload import FILLER, PARTITIONS
from tests.exporters.foreign.packages import FILES, installed_path
from tests.kafka.broker import RunningKafka

FRAME_BYTES, FRAME_S = 2 * HOP, HOP / RATE
TICKS, LINGER_MS = 4, 10
"""A stream's frame comes at one of so many moments in its 32 ms; the feeder gathers for so long, as a gateway does."""
WARM_S, LOST_S, CHECKED = 10.0, 30.0, 4
"""The broker is Java and gets quick over its first seconds of a kind of traffic: at 3 s it took twice the processor time."""
LOOK_S, DEADLINE_S = 0.2, 240.0
"""Metrics are asked for rarely: the daemon pays for the answers."""


class Voices:
    """Sounds of one length in frames of 32 ms; stream ``i`` says one of them, from a place of its own on."""

    def __init__(self, sounds: Sequence[bytes]) -> None:
        self.sounds = list(sounds)
        self._frames = [
            [pcm[at : at + FRAME_BYTES] for at in range(0, len(pcm) - FRAME_BYTES + 1, FRAME_BYTES)] for pcm in sounds
        ]

    def frame(self, stream: int, number: int) -> bytes:
        """The stream's frame of this number."""
        frames = self._frames[stream % len(self._frames)]
        return frames[(number + 37 * stream) % len(frames)]


@dataclass(frozen=True, slots=True)
class Taken:
    """A backlog's frames, seconds until all was committed, and the daemon's processor seconds."""

    frames: int
    seconds: float
    cpu_s: float

    @property
    def frames_per_s(self) -> float:
        return self.frames / self.seconds

    @property
    def frames_per_cpu_s(self) -> float:
        return self.frames / self.cpu_s

    def told(self) -> dict[str, float]:
        """For a report."""
        return {"frames_per_s": self.frames_per_s, "frames_per_cpu_s": self.frames_per_cpu_s}


class _Served:
    """A daemon that stands ready over topics of its own."""

    def __init__(self, kafka: RunningKafka, bundle: Bundle, folder: Path, client: str, *arguments: str) -> None:
        tag = uuid.uuid4().hex[:8]
        self.source, self.target, self._group = f"sound-{tag}", f"speech-{tag}", f"voice-{tag}"
        self.broker = kafka.bootstrap
        self.admin = Admin(kafka.bootstrap)
        for topic in (self.source, self.target):
            self.admin.create(topic)
        self.daemon = WatchedDaemon(
            bundle.path,
            kafka.bootstrap,
            folder / tag,
            ["--codec", "pcm16", "--client", client, *arguments],
            (self.source, self.target),
            self._group,
        )
        self.daemon.wait_ready()

    def close(self) -> None:
        """End the daemon and remove its topics."""
        self.daemon.kill()
        self.admin.delete(self.source, self.target, f"{self._group}-state")


class Backlog(_Served):
    """Frames of many streams, written in one transaction; the clock runs from its commit to the daemon's last one."""

    def __init__(
        self, kafka: RunningKafka, bundle: Bundle, folder: Path, voices: Voices, client: str, emit: str, streams: int
    ) -> None:
        codec = ["--output-codec", "f32"] if emit == "every" else []
        super().__init__(kafka, bundle, folder, client, "--emit", emit, *codec)
        self._voices, self._streams, self._at = voices, streams, 0
        feeder = {"transactional.id": f"feeder-{self.source}", "transaction.timeout.ms": TRANSACTION_MS}
        self._producer = Producer(FILLER | feeder | {"bootstrap.servers": kafka.bootstrap})
        self._producer.init_transactions()
        self.taken(4)  # every stream has a state

    def close(self) -> None:
        """See `_Served`; the feeder too."""
        self._producer.close()
        super().close()

    def taken(self, frames: int) -> Taken:
        """The next ``frames`` of every stream."""
        self._producer.begin_transaction()
        for number in range(self._at, self._at + frames):
            for stream in range(self._streams):
                _send(self._producer, self.source, stream, self._voices.frame(stream, number))
            self._producer.poll(0)
        self._producer.flush(120)
        self._at += frames
        spent, began = cpu_seconds(self.daemon.pid), time.time()
        self._producer.commit_transaction(60)
        while self.daemon.metric("records_committed_total") < self._at * self._streams:
            assert time.time() < began + DEADLINE_S, self.daemon.text[-2000:]
            time.sleep(LOOK_S)
        return Taken(frames * self._streams, time.time() - began, cpu_seconds(self.daemon.pid) - spent)


@dataclass(frozen=True, slots=True)
class Lived:
    """``latency_s``: float64[frame, stream] from a frame's sending to its committed score, behind the warm-up."""

    streams: int
    latency_s: np.ndarray
    frames_per_cpu_s: float
    daemon_cores: float
    broker_cores: float
    own_cores: float

    def percentile_ms(self, percent: float) -> float:
        return 1e3 * float(np.percentile(self.latency_s, percent))

    def told(self) -> dict[str, object]:
        """For a report."""
        return {
            "streams": self.streams,
            "ms": {str(p): round(self.percentile_ms(p), 1) for p in (50, 90, 99, 99.9, 100)},
            "cores": {"daemon": self.daemon_cores, "broker": self.broker_cores, "feeder and reader": self.own_cores},
        }


def live(
    kafka: RunningKafka, bundle: Bundle, folder: Path, voices: Voices, client: str, streams: int, seconds: float
) -> Lived:
    """Every stream sends a frame each 32 ms. Raises ``AssertionError`` for a score that is missing or has wrong bits."""
    served = _Served(kafka, bundle, folder, client, "--emit", "every", "--output-codec", "f32")
    frames, warm = round((seconds + WARM_S) / FRAME_S), round(WARM_S / FRAME_S)
    sent, seen = np.zeros((frames, streams)), np.full((frames, streams), np.nan)
    checked: dict[int, list[bytes]] = {round(i): [] for i in np.linspace(0, streams - 1, CHECKED)}
    reader = threading.Thread(target=_read, args=(served, seen, checked, time.monotonic() + seconds + WARM_S + LOST_S))
    try:
        reader.start()
        marks: list[tuple[float, float, float, float]] = []

        def mark() -> None:
            assert kafka.pid is not None
            spent = (cpu_seconds(served.daemon.pid), cpu_seconds(kafka.pid), time.process_time())
            marks.append((time.perf_counter(), *spent))

        producer = Producer({"bootstrap.servers": kafka.bootstrap, "linger.ms": LINGER_MS})
        began = time.perf_counter()
        for tick in range(frames * TICKS):
            wait = began + tick * FRAME_S / TICKS - time.perf_counter()
            if wait > 0:
                time.sleep(wait)
            number, turn = divmod(tick, TICKS)
            if turn == 0 and number == warm:
                mark()
            sent[number, turn::TICKS] = time.perf_counter()
            for stream in range(turn, streams, TICKS):
                _send(producer, served.source, stream, voices.frame(stream, number))
            producer.poll(0)
        mark()
        producer.flush(30)
        reader.join()
    finally:
        served.close()
    missing = int(np.isnan(seen).sum())
    assert not missing, f"{missing} of {seen.size} frames have no score"
    for stream, values in checked.items():
        sound = samples_of(b"".join(voices.frame(stream, number) for number in range(frames)))
        expected = probabilities(installed_path(FILES[0]), sound).tobytes()
        assert b"".join(values) == expected, f"the scores of stream {stream} are not those of a plain loop"
    took, daemon_s, broker_s, own_s = (after - before for before, after in zip(*marks, strict=True))
    return Lived(
        streams,
        (seen - sent)[warm:],
        (frames - warm) * streams / daemon_s,
        daemon_s / took,
        broker_s / took,
        own_s / took,
    )


def _read(served: _Served, seen: np.ndarray, checked: dict[int, list[bytes]], deadline: float) -> None:
    """Note when each score was committed; a stream's scores come in its frames' order."""
    consumer = Consumer(
        {
            "bootstrap.servers": served.broker,
            "group.id": uuid.uuid4().hex,
            "isolation.level": "read_committed",
            "fetch.wait.max.ms": 20,
            "enable.auto.commit": False,
        }
    )
    consumer.assign([TopicPartition(served.target, partition, 0) for partition in range(PARTITIONS)])
    counts, left = [0] * seen.shape[1], seen.size
    while left and time.monotonic() < deadline:
        messages = [message for message in consumer.consume(1000, 0.01) if message.error() is None]
        now = time.perf_counter()
        for message in messages:
            stream = int(message.key()[1:])
            seen[counts[stream], stream] = now
            counts[stream] += 1
            if stream in checked:
                checked[stream].append(message.value())
        left -= len(messages)
    consumer.close()


def _send(producer: Producer, topic: str, stream: int, value: bytes) -> None:
    while True:
        try:
            producer.produce(topic, value, b"s%07d" % stream, stream % PARTITIONS)
            return
        except BufferError:
            producer.poll(0.05)
