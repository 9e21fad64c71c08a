"""A cluster with topics and a group of its own, and an operator's tools for it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from kafka.admin import ConfigResource

from edge_rnn.contract.bundle import Bundle
from runtime.core.batch import Outgoing
from runtime.transports.connect import open_broker, open_transport
from runtime.transports.kafka_python_clients import KafkaPythonAdmin, OffsetAndMetadata, TopicPartition, errors
from runtime.transports.protocol import Broker, MemberSettings
from tests.daemon.processes import DaemonProcess, wait_for
from tests.transports.places import Member

ROW = np.ones(3, "<f4")


@dataclass
class Site:
    """Topics and a group of a cluster; ``admin`` is the operator's, whichever client the daemon has."""

    url: str
    client: str
    tag: str
    folder: Path
    broker: Broker
    admin: KafkaPythonAdmin

    def name(self, role: str) -> str:
        return f"{self.tag}-{role}"

    @property
    def group(self) -> str:
        return self.name("group")

    @property
    def state(self) -> str:
        return f"{self.group}-state"

    def settings(self, **changes: Any) -> MemberSettings:
        values = {"broker": self.url, "group": self.group, "input": self.name("in"), "output": self.name("out")}
        return MemberSettings(**{**values, "instance": "a", "client": self.client, **changes})

    def open(self, **changes: Any) -> None:
        """Open a member and close it again."""
        member = Member(open_transport(self.settings(**changes)))
        try:
            member.open()
        finally:
            member.transport.close()

    def feed(self, *records: tuple[int, str]) -> None:
        """A row of ones for each of these ``(partition, key)``."""
        self.broker.write(
            self.name("in"),
            Outgoing(
                np.array([partition for partition, _ in records], np.int32),
                np.full(len(records), -1, np.int64),
                [key.encode() for _, key in records],
                [ROW.tobytes()] * len(records),
            ),
        )

    def outputs(self) -> list[tuple[str, bytes]]:
        """Key and value of every output, in the order of each partition."""
        batch = self.broker.read(self.name("out"))
        return [((key or b"").decode(), value or b"") for key, value in zip(batch.keys, batch.values, strict=True)]

    def arguments(self, bundle: Bundle, *more: str) -> list[str]:
        return [
            str(bundle.path),
            *("--input", self.name("in"), "--output", self.name("out"), "--group", self.group, "--codec", "f32"),
            *("--broker", self.url, "--client", self.client, "--instance", "a", "--leave", *more),
        ]

    @contextmanager
    def daemon(self, bundle: Bundle, *more: str) -> Iterator[DaemonProcess]:
        """One that leaves its group when it ends."""
        process = DaemonProcess(self.arguments(bundle, *more), self.folder / f"{uuid.uuid4().hex[:6]}.log")
        try:
            yield process
            if process.alive():
                assert process.stop() == 0, process.text()[-2000:]
        finally:
            process.close()

    def serve(self, bundle: Bundle, count: int, *more: str) -> list[tuple[str, bytes]]:
        """Run until there are ``count`` outputs, and stop."""
        with self.daemon(bundle, *more) as process:
            wait_for(
                lambda: len(self.outputs()) >= count or not process.alive(),
                lambda: f"{count} outputs; {process.text()[-2000:]}",
            )
            assert process.alive(), process.text()[-2000:]
        return self.outputs()

    def refused(self, bundle: Bundle, *more: str) -> str:
        """Run; the one line with which the daemon ends by itself."""
        with self.daemon(bundle, *more) as process:
            assert process.wait() == 1, process.text()[-2000:]
            (line,) = [line for line in process.text().splitlines() if line.startswith("edge-rnn: ")]
            assert "Traceback" not in process.text()
        return line

    def alter(self, topic: str, **config: object) -> None:
        wanted = {name.replace("_", "."): str(value) for name, value in config.items()}
        self.admin.client.alter_configs([ConfigResource("topic", topic, configs=wanted)])
        wait_for(lambda: wanted.items() <= self.admin.config(topic).items(), f"{wanted} of {topic}")

    def grow(self, partitions: int) -> None:
        """Add partitions to the input; the producers begin anew, as theirs would not know of them for minutes."""
        self.admin.grow(self.name("in"), partitions)
        wait_for(lambda: self.admin.partitions()[self.name("in")] == partitions, f"{partitions} partitions")
        self.broker.close()
        self.broker = open_broker(self.url, self.client)  # type: ignore[arg-type]

    def committed(self, partition: int) -> OffsetAndMetadata:
        return self.admin.group_offsets(self.group)[TopicPartition(self.name("in"), partition)]

    def commit(self, partition: int, offset: int, metadata: str = "") -> None:
        """What an operator's tool does to an empty group."""
        place = TopicPartition(self.name("in"), partition)
        wanted = {place: OffsetAndMetadata(offset, metadata, -1)}

        def done() -> bool:
            return self.admin.client.alter_group_offsets(self.group, wanted)[place] is errors.NoError

        wait_for(done, "the group takes an offset: it is empty")
