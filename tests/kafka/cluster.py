"""Several Apache Kafka nodes on this machine, for what one node cannot show: replication, leader moves, a node cut off.

``with KafkaCluster(3) as kafka: kafka.bootstrap``. Every node is broker and controller; replication 3 and two in-sync
replicas at least where there are three, else 1. A `Seat` puts a node elsewhere than on 127.0.0.1.
"""

from __future__ import annotations

import shutil
import socket
import struct
import subprocess
import tempfile
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.kafka.broker import LOG4J, KafkaUnavailable, RunningKafka, fetch_jars, free_port

PROPERTIES = """
process.roles=broker,controller
node.id={number}
controller.quorum.voters={voters}
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=PLAINTEXT://{host}:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={data}
num.partitions=1
auto.create.topics.enable=false
default.replication.factor={replication}
min.insync.replicas={in_sync}
offsets.topic.replication.factor={replication}
transaction.state.log.replication.factor={replication}
transaction.state.log.min.isr={in_sync}
share.coordinator.state.topic.replication.factor={replication}
share.coordinator.state.topic.min.isr={in_sync}
log.retention.ms=-1
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
"""
"""All else is the broker's default, as in `tests.kafka.broker`.

The broker's session is with the controller: a node that was killed may register again only after it, 9 s by default.
"""


@dataclass(frozen=True, slots=True)
class Seat:
    """Where a node runs: its address, and the command that puts a process there."""

    host: str = "127.0.0.1"
    prefix: tuple[str, ...] = ()


class KafkaNode(RunningKafka):
    """One node of a cluster: the life of a `RunningKafka`, configured by its cluster, not started when it is made."""

    def __init__(self, seat: Seat, port: int, properties: str, cluster_id: str, folder: Path) -> None:
        self.port = port
        self.seat = seat
        self.folder = folder
        self._jars = fetch_jars()
        self._own_folder = False
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True)
        config = folder / "server.properties"
        config.write_text(properties)
        (folder / "log4j2.yaml").write_text(LOG4J)
        done = subprocess.run(
            [
                *self._java("kafka.tools.StorageTool", "-Xmx128m", "-XX:TieredStopAtLevel=1"),
                *("format", "-t", cluster_id, "-c", str(config)),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise KafkaUnavailable(f"Kafka could not format {folder}: {(done.stdout + done.stderr)[-500:]}")

    @property
    def bootstrap(self) -> str:
        return f"{self.seat.host}:{self.port}"

    @property
    def running(self) -> bool:
        """Whether its process lives."""
        return self._process is not None and self._process.poll() is None

    def _java(self, main: str, *options: str) -> list[str]:
        return [*self.seat.prefix, *super()._java(main, *options)]

    def _answers(self) -> bool:
        header = struct.pack(">hhih4s", 18, 0, 1, 4, b"test")
        try:
            with socket.create_connection((self.seat.host, self.port), timeout=2.0) as connection:
                connection.sendall(struct.pack(">i", len(header)) + header)
                return len(connection.recv(4)) == 4
        except OSError:
            return False


class KafkaCluster:
    """``nodes`` of Kafka that know each other; its data go when it is closed."""

    def __init__(self, nodes: int = 3, seats: Sequence[Seat] = ()) -> None:
        seats = seats or [Seat()] * nodes
        self.folder = Path(tempfile.mkdtemp(prefix="edge-rnn-cluster-"))
        self.nodes: list[KafkaNode] = []
        try:
            self._make(seats)
            with ThreadPoolExecutor(len(self.nodes)) as pool:
                list(pool.map(lambda node: node.start(90.0), self.nodes))
        except BaseException:
            self.close()
            raise

    def _make(self, seats: Sequence[Seat]) -> None:
        cluster_id = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "A")
        ports = [(free_port(), free_port()) for _ in seats]
        voters = ",".join(f"{number}@{seat.host}:{ports[number - 1][1]}" for number, seat in enumerate(seats, start=1))
        for number, seat in enumerate(seats, start=1):
            port, controller_port = ports[number - 1]
            folder = self.folder / f"node-{number}"
            properties = PROPERTIES.format(
                number=number,
                voters=voters,
                host=seat.host,
                port=port,
                controller_port=controller_port,
                data=folder / "data",
                replication=min(3, len(seats)),
                in_sync=min(2, len(seats)),
            )
            self.nodes.append(KafkaNode(seat, port, properties, cluster_id, folder))

    @property
    def bootstrap(self) -> str:
        """``HOST:PORT,...`` of every node."""
        return ",".join(node.bootstrap for node in self.nodes)

    def replicated(self, timeout_s: float = 60.0) -> bool:
        """Wait until every replica of every topic is in sync; whether that came about."""
        from confluent_kafka import KafkaException
        from confluent_kafka.admin import AdminClient

        client: Any = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            try:
                topics = client.list_topics(timeout=2.0).topics.values()
                if all(len(p.isrs) == len(p.replicas) for topic in topics for p in topic.partitions.values()):
                    return True
            except KafkaException:
                pass
            time.sleep(0.1)
        return False

    def close(self) -> None:
        """End all nodes and remove their data."""
        for node in self.nodes:
            node.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> KafkaCluster:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
