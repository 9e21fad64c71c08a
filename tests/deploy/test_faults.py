"""Devices that die in the middle of a release, stand still, are away, or come back: three of them, eight in make fleet."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon.processes import wait_for
from tests.deploy.containers import Registry
from tests.deploy.machines import Machine, booted
from tests.deploy.town import COUNT, EVERY_S, Feed, Town, served

pytestmark = [pytest.mark.fleet, pytest.mark.slow, pytest.mark.kafka, pytest.mark.timeout(580)]
AUDIT = "/var/lib/edge-rnn/activity/audit.jsonl"


Served = dict[str, tuple[str, str]]


@pytest.fixture(scope="module")
def town(
    containers: None, registry: Registry, kafka_broker: str, disk: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Town]:
    """Devices whose waves bear no loss, however many they are."""
    with booted([f"f{number}" for number in range(COUNT)], disk) as machines:
        yield Town(tmp_path_factory.mktemp("faults"), machines, registry, kafka_broker, lost="0")


@pytest.fixture(scope="module")
def before(town: Town) -> Served:
    """What all devices serve first."""
    town.deploy("up", town.release("first"), "--canary", "100%")
    return settled(town)


@pytest.fixture(scope="module")
def second(town: Town, before: Served) -> str:
    """The release that comes next."""
    return town.release("second")


@pytest.fixture(scope="module")
def feed(town: Town, before: Served) -> Iterator[Feed]:
    """Records for every device, through all that happens to them."""
    feed = Feed(town.broker, [machine.name for machine in town.machines], max(EVERY_S, 0.1))
    yield feed
    feed.stop()


class Assassin:
    """Cuts a machine's power when a change of this name has begun there, as its own audit says."""

    def __init__(self, machine: Machine, what: str) -> None:
        self._machine, self._what = machine, f'"what":"{what}"'
        self._before = self._count()
        self._thread = threading.Thread(target=self._wait, daemon=True)
        self._thread.start()
        self.struck = False

    def _count(self) -> int:
        return sum(self._what in line for line in self._machine.read(AUDIT).splitlines())

    def _wait(self) -> None:
        wait_for(lambda: self._count() > self._before, f"{self._what} on {self._machine.name}", every_s=0.01)
        self._machine.cut_power()
        self.struck = True

    def join(self) -> None:
        self._thread.join(120)
        assert self.struck
        self._machine.power_on()


def settled(town: Town) -> Served:
    """State and release of every device, once all are ready: a busy machine may cost a daemon its session."""
    rows: dict[str, dict] = {}

    def ready() -> bool:
        rows.update(town.rows())
        return all(row["ready"] for row in rows.values())

    wait_for(ready, lambda: f"all devices are ready: {rows}", every_s=0.5)
    return served(rows)


def test_first_release_serves_on_every_device(before):
    assert len(before) == COUNT
    assert {state for state, _ in before.values()} == {"ok"}
    assert len({release for _, release in before.values()}) == 1


def test_devices_killed_in_a_pull_and_in_a_promotion_end_whole(town, before, second, feed):
    pulling = Assassin(town.machines[2], "pull bundle")
    promoting = Assassin(town.machines[0], "promote")
    said = town.deploy("up", second, "--canary", "100%", status=1)
    pulling.join()
    promoting.join()
    assert "f2: pending" in said
    assert "f0: lost" in said
    # one dropped out of sight while traffic moved: the wave goes back, and so does f0 when it is seen again
    assert f"1 lost, 1 pending, {COUNT - 2} reverted" in said
    wait_for(lambda: town.rows()["f0"]["ready"], "f0 serves by itself after its power cut", every_s=0.5)
    town.deploy("pending")
    assert settled(town) == before


def test_status_tells_of_a_device_that_stands_still_and_of_one_whose_podman_hangs_within_a_minute(town, before, feed):
    still, hangs = town.machines[0], town.machines[1]
    podman = "/usr/bin/podman"
    hangs.inside(
        "sh", "-c", f"mv {podman} {podman}.kept; printf '#!/bin/sh\nexec sleep 1000\n' >{podman}; chmod 755 {podman}"
    )
    still.freeze()
    try:
        began = time.monotonic()
        rows = town.rows()
        assert time.monotonic() - began < 60
    finally:
        still.thaw()
        hangs.inside("mv", "-f", f"{podman}.kept", podman)
    assert rows["f0"]["state"] == "unreachable"
    assert (rows["f1"]["state"], rows["f1"]["release"]) == ("not-ready", before["f1"][1])
    assert {name: row for name, row in served(rows).items() if name not in ("f0", "f1")} == {
        name: row for name, row in before.items() if name not in ("f0", "f1")
    }
    assert settled(town) == before


def test_device_that_is_away_during_a_roll_back_goes_back_later_and_nothing_is_lost_or_doubled(
    town, before, second, feed
):
    town.deploy("up", second)
    after = settled(town)
    assert {state for state, _ in after.values()} == {"ok"}
    assert not {release for _, release in after.values()} & {release for _, release in before.values()}

    away = town.machines[1]
    away.cut_power()
    town.deploy("rollback")
    assert town.rows()["f1"]["state"] == "pending"
    away.power_on()
    town.deploy("pending")
    assert settled(town) == before
    feed.stop()
    town.answered(feed)


def test_audit_tells_of_every_change_and_where_devices_died(town, feed):
    unfinished = town.deploy("audit", "--unfinished", "--json")
    assert '"promote"' in unfinished
    assert '"pull bundle"' in unfinished
    entries = town.audited()
    for machine in town.machines:
        mine = [entry["what"] for entry in entries if entry["device"] == machine.name]
        assert "promote" in mine
        assert "roll back" in mine
