"""From a bundle to devices and back, by the commands a person types: real registry, sshd, systemd, podman, Kafka."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edge_rnn.contract.bundle import Bundle
from runtime.core.batch import Outgoing
from runtime.transports.connect import open_broker
from runtime.transports.protocol import Broker
from tests.daemon.processes import wait_for
from tests.deploy.containers import BASE, Registry
from tests.deploy.machines import Machine
from tests.models_for_tests import make_bundle

pytestmark = [pytest.mark.fleet, pytest.mark.slow, pytest.mark.kafka, pytest.mark.timeout(900)]
COUNT = 3
SPIKE = 1e30
"""A value that the model in place bears; weights of both signs and 1e12 make infinity less infinity of it."""


class Feed:
    """Writes a record a stream and device again and again, until it is stopped; and knows what it wrote."""

    def __init__(self, broker: str, topics: list[str]) -> None:
        self._broker = open_broker(broker)
        self._topics = topics
        self.sent: dict[str, list[tuple[str, int]]] = {topic: [] for topic in topics}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        draw, clock = np.random.default_rng(0), int(time.time() * 1000)
        for number in range(10**9):
            if self._stop.wait(0.02):
                return
            for topic in self._topics:
                keys = [f"s{stream}" for stream in range(4)]
                rows = draw.normal(size=(4, 3)).round(3)
                if number % 20 == 7:
                    rows[0] = SPIKE
                values = [json.dumps(row.tolist()).encode() for row in rows]
                times = np.full(4, clock + number, np.int64)
                self._broker.write(
                    topic, Outgoing(np.zeros(4, np.int32), times, [key.encode() for key in keys], values)
                )
                self.sent[topic] += [(key, clock + number) for key in keys]

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        self._broker.close()


class Town:
    """Machines, their inventory, and the command."""

    def __init__(self, folder: Path, machines: list[Machine], registry: Registry, broker: str) -> None:
        self.folder, self.machines, self.registry, self.broker = folder, machines, registry, broker
        subprocess.run(
            ["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", folder / "key"], check=True
        )
        subprocess.run(["openssl", "ec", "-in", folder / "key", "-pubout", "-out", folder / "key.pub"], check=True)
        (folder / "password").write_text("hunter2-in-a-file\n")
        tables = "".join(
            machine.table.replace(
                "[device.ssh]",
                f'input = "in-{machine.name}"\noutput = "out-{machine.name}"\nmetrics-port = {9500 + 2 * number}\n'
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
[app.run.kafka]
"session.timeout.ms" = 6000
[app.secrets]
"kafka.sasl.password" = {{ file = "password" }}
[rollout]
strategy = "swap"
canary = "1"
min-free = "1MB"
[gates]
min-records = 60
within = "60s"
ready = "60s"
bake = "2s"
step-ratio = 20
{tables}"""
        )

    def deploy(self, *words: str, status: int = 0, to: str | None = None) -> str:
        chosen = [] if to is None else ["--to", to]
        fleet = ["--fleet", str(self.folder / "fleet.toml"), *chosen] if words[0] not in ("build", "push") else []
        done = subprocess.run(
            [sys.executable, "-m", "edge_rnn.cli", "deploy", *words[:1], *fleet, *words[1:]],
            capture_output=True,
            text=True,
            check=False,
            timeout=500,
            env={**os.environ, "XDG_STATE_HOME": str(self.folder / "state")},
        )
        print(f"$ edge-rnn deploy {' '.join(words)}\n{done.stderr}{done.stdout}", flush=True)
        assert done.returncode == status, f"{words}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def release(self, bundle: Bundle, *more: str) -> str:
        out = self.folder / f"out-{bundle.path.name}"
        self.deploy(
            "build",
            str(bundle.path),
            "-o",
            str(out),
            "--base",
            f"{BASE}:amd64",
            "--app",
            "activity",
            "--engine",
            "podman",
            *more,
        )
        self.deploy(
            "push",
            str(out),
            "--to",
            self.registry.repository,
            "--insecure",
            "--sign",
            str(self.folder / "key"),
            "--engine",
            "podman",
        )
        return str(out)

    def rows(self) -> dict[str, dict]:
        text = self.deploy("status", "--json")
        return {row["device"]: row for row in json.loads(text[text.index("[") : text.rindex("]") + 1])}

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
        for stream in range(4):
            times = [at for key, at in found if key == f"s{stream}"]
            assert times == sorted(times)
        print(f"{name}: {len(sent)} records, each with one output, in order", flush=True)


@pytest.fixture(scope="module")
def town(
    containers: None, registry: Registry, kafka_broker: str, disk: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Town]:
    machines: list[Machine] = []
    try:
        for number in range(COUNT):
            machines.append(Machine(f"t{number}", disk))
        yield Town(tmp_path_factory.mktemp("town"), machines, registry, kafka_broker)
    finally:
        for machine in machines:
            machine.close()


def served(rows: dict[str, dict]) -> dict[str, tuple[str, str]]:
    """State and release of every device."""
    return {name: (row["state"], row["release"]) for name, row in rows.items()}


def spoil(model: object) -> None:
    """Weights with which ordinary inputs saturate, as they may, and a spike gives NaN."""
    for name, value in model.named_parameters():  # type: ignore[attr-defined]
        if "weight_ih" in name:
            value.mul_(1e12)


def test_release_travels_and_bad_ones_come_back_and_nothing_is_lost_or_doubled(town, tmp_path_factory):
    bundles = tmp_path_factory.mktemp("bundles")
    first = town.release(make_bundle(bundles / "first", "gru"))
    topics = [f"in-{machine.name}" for machine in town.machines]

    town.deploy("up", first)
    rows = town.rows()
    assert {row["state"] for row in rows.values()} == {"ok"}, rows
    feed = Feed(town.broker, topics)
    try:
        # a canary that disagrees with the daemon in place is not promoted
        disagrees = town.release(make_bundle(bundles / "disagrees", "gru", seed=5))
        said = town.deploy("up", disagrees, status=1)
        assert "of outputs are within" in said
        assert served(town.rows()) == served(rows)

        # nor is one whose results are not finite
        infinite = town.release(make_bundle(bundles / "infinite", "gru", change=spoil))
        said = town.deploy("up", infinite, status=1)
        assert "the new model refuses" in said
        assert served(town.rows()) == served(rows)

        # a release that was altered after it was signed reaches no device
        altered = Path(first) / "release.json"
        good = altered.read_bytes()
        altered.write_bytes(good.replace(b"0.1.0", b"0.1.1"))
        assert "altered or is signed by another key" in town.deploy("up", first, status=1)
        altered.write_bytes(good)

        # the same weights under another name agree, the bundle travels alone; one device is off and gets its turn later
        second = town.release(make_bundle(bundles / "second", "gru", hidden=8), "--without-bundle")
        away = town.machines[2]
        away.cut_power()
        said = town.deploy("up", second)
        assert "pending" in said
        states = {name: row["state"] for name, row in town.rows().items()}
        assert states == {"t0": "ok", "t1": "ok", "t2": "pending"}
        away.power_on()
        town.deploy("pending")
        after = town.rows()
        assert {row["state"] for row in after.values()} == {"ok"}
        assert {row["release"] for row in after.values()} != {row["release"] for row in rows.values()}

        town.deploy("rollback")
        back = town.rows()
        assert {name: row["release"] for name, row in back.items()} == {n: row["release"] for n, row in rows.items()}
        assert {row["state"] for row in back.values()} == {"ok"}
        again = town.deploy("rollback", status=2)
        assert "nothing to roll back to" in again
    finally:
        feed.stop()
    town.answered(feed)

    said = town.deploy("audit", "--json")
    entries = json.loads(said[said.index("[") : said.rindex("]") + 1])
    done = [(entry["device"], entry["what"]) for entry in entries if entry.get("outcome", "done") == "done"]
    for machine in town.machines:
        assert done.count((machine.name, "swap")) == 2
        assert (machine.name, "roll back") in done
    assert {entry["release"] for entry in entries if entry["what"] == "swap"} == {
        row["release"] for row in [*rows.values(), *after.values()]
    }
    everything = said + town.deploy("logs", "-n", "500")
    assert "hunter2" not in everything
    for machine in town.machines:
        assert "hunter2" not in machine.inside("ps", "-eo", "args", "ww")
        assert "hunter2" not in machine.inside("sh", "-c", "podman inspect $(podman ps -aq)")


def test_device_refuses_a_slot_that_was_altered_on_its_disk(town):
    machine = town.machines[0]
    base = "/var/lib/edge-rnn/activity"
    slot = machine.inside("readlink", f"{base}/active").strip()[-1]
    unit = f"edge-rnn-activity-{slot}.service"
    machine.inside("sed", "-i", "s/activity/activitx/", f"{base}/slots/{slot}/release.json")
    machine.inside("systemctl", "restart", unit, check=False)
    assert "refused: release.json was altered" in machine.inside("journalctl", "--no-pager", "-u", unit)
    assert machine.inside("podman", "ps", "-q").strip() == ""
    machine.inside("sed", "-i", "s/activitx/activity/", f"{base}/slots/{slot}/release.json")
    machine.inside("systemctl", "restart", unit)
    wait_for(lambda: town.rows()["t0"]["state"] == "ok", "the daemon serves again", every_s=0.5)


def test_device_serves_again_by_itself_after_a_power_cut(town):
    machine = town.machines[1]
    machine.cut_power()
    machine.power_on()
    wait_for(lambda: town.rows()["t1"]["state"] == "ok", "the daemon serves again", every_s=0.5)


def test_exec_prune_and_unlock_do_what_they_say(town):
    said = town.deploy("exec", "python3", "-c", "print('in ' + 'here')", to="t0")
    assert "t0: in here" in said
    images = town.machines[0].inside("podman", "images", "-q").split()
    town.machines[0].inside("sh", "-c", 'printf \'x\\n{"who": "eve"}\\n\' >/var/lib/edge-rnn/activity/lock')
    assert "locked by" in town.deploy("prune", to="t0")
    assert "eve" in town.deploy("unlock", to="t0")
    town.deploy("prune", to="t0")
    assert len(town.machines[0].inside("podman", "images", "-q").split()) < len(images)
    assert town.rows()["t0"]["state"] == "ok"
