"""Where a run takes place: a Kafka cluster or an embedded store, with topics, a sink for input and a watcher."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Protocol

from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from tests.chaos.feed import KafkaSink, Sink, SqliteSink
from tests.chaos.network import Network
from tests.chaos.reading import Silent, read_kafka, read_sqlite
from tests.chaos.records import PARTITIONS, Record
from tests.chaos.watch import Watcher, watch_kafka, watch_sqlite
from tests.kafka.cluster import KafkaCluster, Seat

INPUT, OUTPUT, DEAD = "in", "out", "dead"
STORE_BYTES = 256 << 20


class Place(Protocol):
    """A broker with topics. ``verifier``: the arguments that lead the verifier there."""

    url: str
    verifier: Sequence[str]
    kafka: KafkaCluster | None
    network: Network | None

    def sink(self) -> Sink: ...

    def watcher(self) -> Watcher: ...

    def prefix(self, member: int) -> Sequence[str]: ...

    def read(self, topic: str) -> list[Record]: ...

    def close(self) -> None: ...


class KafkaPlace:
    """``nodes`` of Kafka; with ``network``, members and nodes each in a network namespace of their own."""

    def __init__(self, nodes: int, members: int, *, network: bool) -> None:
        self._stack = ExitStack()
        try:
            self.network: Network | None = None
            seats = [Seat()] * nodes
            if network:
                names = [*(f"m{n}" for n in range(members)), *(f"k{n}" for n in range(nodes))]
                self.network = self._stack.enter_context(Network(names))
                seats = [Seat(self.network.address(f"k{n}"), self.network.prefix(f"k{n}")) for n in range(nodes)]
            self.kafka: KafkaCluster | None = self._stack.enter_context(KafkaCluster(nodes, seats))
            self.url = self.kafka.bootstrap
            self.verifier: Sequence[str] = ("--kafka", self.url)
            admin: Any = AdminClient({"bootstrap.servers": self.url}, logger=Silent())
            topics = [NewTopic(name, PARTITIONS, replication_factor=-1) for name in (INPUT, OUTPUT, DEAD)]
            for made in admin.create_topics(topics).values():
                made.result(30)
        except BaseException:
            self.close()
            raise

    def sink(self) -> Sink:
        return KafkaSink(self.url, INPUT)

    def watcher(self) -> Watcher:
        return watch_kafka(self.url, OUTPUT)

    def prefix(self, member: int) -> Sequence[str]:
        return self.network.prefix(f"m{member}") if self.network else ()

    def read(self, topic: str) -> list[Record]:
        return read_kafka(self.url, topic)

    def close(self) -> None:
        self._stack.close()


class SqlitePlace:
    """One file; where this process may mount, on a small disk of its own that can be filled."""

    kafka: KafkaCluster | None = None
    network: Network | None = None

    def __init__(self, folder: Path, seconds: float) -> None:
        from runtime.transports.connect import open_broker

        self._disk = folder / "disk"
        self._disk.mkdir()
        self.mounted = (
            may_mount()
            and not subprocess.run(
                ["mount", "-t", "tmpfs", "-o", f"size={STORE_BYTES + int(seconds * 500_000)}", "tmpfs", self._disk],
                capture_output=True,
                check=False,
            ).returncode
        )
        try:
            self.path = self._disk / "store.sqlite"
            self.url = f"sqlite:{self.path}"
            self.verifier: Sequence[str] = ("--sqlite", str(self.path))
            broker = open_broker(self.url)
            for name in (INPUT, OUTPUT, DEAD):
                broker.create_topic(name, PARTITIONS)
            broker.close()
        except BaseException:
            self.close()
            raise

    def sink(self) -> Sink:
        return SqliteSink(self.path, INPUT)

    def watcher(self) -> Watcher:
        return watch_sqlite(self.path, OUTPUT)

    def prefix(self, member: int) -> Sequence[str]:
        return ()

    def read(self, topic: str) -> list[Record]:
        return read_sqlite(self.path, topic)

    def limit(self, *, full: bool) -> None:
        """Set the store's size limit to what it has now, or lift it."""
        store = sqlite3.connect(self.path, timeout=30, isolation_level=None)
        try:
            pages = store.execute("PRAGMA page_count").fetchone()[0] * store.execute("PRAGMA page_size").fetchone()[0]
            store.execute("INSERT OR REPLACE INTO settings VALUES ('max_bytes', ?)", (pages if full else 0,))
        finally:
            store.close()

    def fill(self) -> None:
        """Leave no room on the disk."""
        with (self._disk / "ballast").open("ab") as ballast:
            deadline = time.monotonic() + 10
            while (free := self._free_bytes()) > 0 and time.monotonic() < deadline:
                with suppress(OSError):
                    os.posix_fallocate(ballast.fileno(), ballast.tell(), free)
                ballast.seek(0, os.SEEK_END)

    def _free_bytes(self) -> int:
        figures = os.statvfs(self._disk)
        return figures.f_bavail * figures.f_bsize

    def empty(self) -> None:
        """Give the room back."""
        (self._disk / "ballast").unlink(missing_ok=True)

    def close(self) -> None:
        if self.mounted:
            subprocess.run(["umount", self._disk], capture_output=True, check=False)
        shutil.rmtree(self._disk, ignore_errors=True)


def may_mount() -> bool:
    """Whether a disk can be mounted here: as root, with ``mount``."""
    return os.geteuid() == 0 and shutil.which("mount") is not None
