"""A few devices with all they need, and the commands that a person types: real registry, sshd, systemd, podman, Kafka."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
from kafka import KafkaConsumer

from runtime.core.batch import Outgoing
from runtime.transports.connect import open_broker
from runtime.transports.protocol import Broker
from tests.daemon.processes import wait_for
from tests.deploy.containers import BASE, Registry
from tests.deploy.machines import Machine
from tests.deploy.spoilt import MAKE, SPIKE

TICKS, STREAMS = 5, 4
"""Records of one write: so many of each stream."""

COUNT = int(os.environ.get("EDGE_RNN_TOWN_DEVICES", "3"))
"""Devices; the more, the less often each is written to, as all of them share one machine."""

EVERY_S = 0.02 if COUNT <= 3 else 0.2

KAFKA = """
[app.run.kafka]
"session.timeout.ms" = 6000
[app.secrets]
"kafka.sasl.password" = { file = "password" }
"""
"""A secret, which a broker that asks for no login passes over."""


class Feed:
    """Writes to each device's topic again and again until it is stopped, knows what it wrote, and sees what is answered."""

    def __init__(self, broker: str, names: list[str], every_s: float = EVERY_S) -> None:
        self._broker = open_broker(broker)
        self._every_s = every_s
        self._topics = [f"in-{name}" for name in names]
        self.sent: dict[str, list[tuple[str, int]]] = {topic: [] for topic in self._topics}
        self._seen = {f"out-{name}": time.monotonic() for name in names}
        self._longest = dict.fromkeys(self._seen, 0.0)
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._write, daemon=True)]
        self._threads.append(threading.Thread(target=self._watch, args=(broker,), daemon=True))
        for thread in self._threads:
            thread.start()

    def _write(self) -> None:
        draw, clock = np.random.default_rng(0), int(time.time() * 1000)
        keys = [f"s{stream}" for _ in range(TICKS) for stream in range(STREAMS)]
        for number in range(10**9):
            if self._stop.wait(self._every_s):
                return
            times = clock + TICKS * number + np.repeat(np.arange(TICKS), STREAMS)
            for topic in self._topics:
                rows = draw.normal(size=(len(keys), 3)).round(3)
                if number % 10 == 7:
                    rows[0, 2] = SPIKE
                values = [json.dumps(row.tolist()).encode() for row in rows]
                places = np.zeros(len(keys), np.int32)
                self._broker.write(topic, Outgoing(places, times, [key.encode() for key in keys], values))
                self.sent[topic] += zip(keys, times.tolist(), strict=True)

    def _watch(self, broker: str) -> None:
        consumer = KafkaConsumer(
            *self._seen, bootstrap_servers=broker, isolation_level="read_committed", auto_offset_reset="latest"
        )
        while not self._stop.is_set():
            for place in consumer.poll(timeout_ms=20):
                now = time.monotonic()
                self._longest[place.topic] = max(self._longest[place.topic], now - self._seen[place.topic])
                self._seen[place.topic] = now
        consumer.close()

    def longest_pauses(self) -> dict[str, float]:
        """The longest time without an output of each device since this was asked last, in seconds."""
        found = {topic: round(seconds, 2) for topic, seconds in self._longest.items()}
        self._longest = dict.fromkeys(self._seen, 0.0)
        return found

    def stop(self) -> None:
        if not self._stop.is_set():
            self._stop.set()
            for thread in self._threads:
                thread.join()
            self._broker.close()


class Town:
    """Machines, their inventory, and the command."""

    def __init__(
        self,
        folder: Path,
        machines: list[Machine],
        registry: Registry,
        broker: str,
        strategy: str = "promote",
        lost: str = "20%",
    ) -> None:
        self.folder, self.machines, self.registry, self.broker = folder, machines, registry, broker
        self._runtime: Path | None = None
        subprocess.run(
            ["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", folder / "key"], check=True
        )
        subprocess.run(["openssl", "ec", "-in", folder / "key", "-pubout", "-out", folder / "key.pub"], check=True)
        (folder / "bundles").mkdir()
        (folder / "password").write_text("hunter2-in-a-file\n")
        ports = 20_000 + 32 * random.randrange(300)  # another town may be on this machine
        tables = "".join(
            machine.table.replace(
                "[device.ssh]",
                f'input = "in-{machine.name}"\noutput = "out-{machine.name}"\nmetrics-port = {ports + 2 * number}\n'
                f'pull = "{"ssh" if number == 1 else "registry"}"\n[device.ssh]',
            )
            for number, machine in enumerate(machines)
        )
        # each machine shares this host's network, so that each has ports of its own
        (folder / "fleet.toml").write_text(
            f"""
[app]
name = "activity"
repository = "{registry.repository}"
insecure-registry = true
key = "key.pub"
memory = "256m"
[app.run]
broker = "{broker}"
create-topics = true
on-new-model = "reset"
{"" if broker.startswith("sqlite:") else KAFKA}
[rollout]
strategy = "{strategy}"
canary = "1"
parallel = 4
lost = "{lost}"
min-free = "1MB"
[gates]
min-records = 400
within = "60s"
ready = "60s"
bake = "2s"
step-ratio = 8
{tables}"""
        )

    def deploy(self, *words: str, status: int = 0, to: str | None = None) -> str:
        chosen = [] if to is None else ["--to", to]
        fleet = ["--fleet", str(self.folder / "fleet.toml"), *chosen] if words[0] not in ("build", "push") else []
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "edge_rnn.cli", "deploy", *words[:1], *fleet, *words[1:]],
            capture_output=True,
            text=True,
            check=False,
            timeout=500,
            env={**os.environ, "XDG_STATE_HOME": str(self.folder / "state")},
        )
        said = done.stderr if "--json" in words else f"{done.stderr}{done.stdout}"
        print(f"$ edge-rnn deploy {' '.join(words)}  # {time.monotonic() - began:.1f} s\n{said}", flush=True)
        assert done.returncode == status, f"{words}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def release(self, name: str) -> str:
        """Build, push and sign a model of `spoilt`; the first brings the runtime, which the others are for."""
        out, bundle = self.folder / f"out-{name}", MAKE[name](self.folder / "bundles" / name)
        made = [str(bundle.path), "-o", str(out)]
        if self._runtime is None:
            made += ["--base", f"{BASE}:amd64", "--app", "activity", "--engine", "podman", "--without-bundle"]
        else:
            made += ["--runtime", str(self._runtime)]
        self._runtime = self._runtime or out
        self.deploy("build", *made)
        to = ["--to", self.registry.repository, "--insecure", "--engine", "podman"]
        self.deploy("push", str(out), *to, "--sign", str(self.folder / "key"))
        return str(out)

    def rows(self) -> dict[str, dict]:
        text = self.deploy("status", "--json")
        return {row["device"]: row for row in json.loads(text[text.index("[") : text.rindex("]") + 1])}

    def audited(self) -> list[dict]:
        text = self.deploy("audit", "--json")
        return list(json.loads(text[text.index("[") : text.rindex("]") + 1]))

    def answered(self, feed: Feed) -> None:
        """Every record that was sent has exactly one output, in the order of its stream."""
        reader = open_broker(self.broker)
        try:
            for machine in self.machines:
                self._all_answered(reader, machine.name, sorted(feed.sent[f"in-{machine.name}"]))
        finally:
            reader.close()

    def _all_answered(self, reader: Broker, name: str, sent: list[tuple[str, int]]) -> None:
        def outputs() -> list[tuple[str, int]]:
            batch = reader.read(f"out-{name}")
            return [((key or b"").decode(), int(at)) for key, at in zip(batch.keys, batch.timestamps, strict=True)]

        wait_for(lambda: len(outputs()) >= len(sent), lambda: f"{len(sent)} outputs of {name}: {len(outputs())}")
        found = outputs()
        assert sorted(found) == sent, f"{name}: {len(found)} outputs of {len(sent)} records"
        for stream in range(STREAMS):
            times = [at for key, at in found if key == f"s{stream}"]
            assert times == sorted(times)
        print(f"{name}: {len(sent)} records, each with one output, in order", flush=True)


def served(rows: dict[str, dict]) -> dict[str, tuple[str, str]]:
    """State and release of every device."""
    return {name: (row["state"], row["release"]) for name, row in rows.items()}
