"""Devices that die in the middle of a release, are away, or come back; on real machines (make fleet)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon.processes import wait_for
from tests.deploy.containers import Registry
from tests.deploy.machines import Machine
from tests.deploy.town import Feed, Town, served

pytestmark = [pytest.mark.fleet, pytest.mark.slow, pytest.mark.kafka, pytest.mark.timeout(580)]
AUDIT = "/var/lib/edge-rnn/activity/audit.jsonl"


@pytest.fixture(scope="module")
def town(
    containers: None, registry: Registry, kafka_broker: str, disk: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Town]:
    machines: list[Machine] = []
    try:
        for number in range(3):
            machines.append(Machine(f"f{number}", disk))
        yield Town(tmp_path_factory.mktemp("faults"), machines, registry, kafka_broker)
    finally:
        for machine in machines:
            machine.close()


class Assassin:
    """Cuts a machine's power when a change of this name has begun there, as its own audit says."""

    def __init__(self, machine: Machine, what: str) -> None:
        self._machine, self._what = machine, f'"what":"{what}"'
        self._before = self._count()
        self._thread = threading.Thread(target=self._wait, daemon=True)
        self._thread.start()
        self.struck = False

    def _count(self) -> int:
        path = self._machine.inside("cat", AUDIT, check=False)
        return sum(self._what in line for line in path.splitlines())

    def _wait(self) -> None:
        wait_for(lambda: self._count() > self._before, f"{self._what} on {self._machine.name}", every_s=0.02)
        self._machine.cut_power()
        self.struck = True

    def join(self) -> None:
        self._thread.join(120)
        assert self.struck
        self._machine.power_on()


def settled(town: Town) -> dict[str, tuple[str, str]]:
    """State and release of every device, once all are ready: a busy machine may cost a daemon its session."""
    wait_for(lambda: all(row["ready"] for row in town.rows().values()), "all devices are ready", every_s=0.5)
    return served(town.rows())


def test_devices_killed_in_a_pull_and_in_a_promotion_end_whole_and_nothing_is_lost_or_doubled(town):
    first = town.release("first")
    town.deploy("up", first)
    before = settled(town)
    feed = Feed(town.broker, [machine.name for machine in town.machines])
    try:
        second = town.release("second")
        pulling = Assassin(town.machines[2], "pull bundle")
        promoting = Assassin(town.machines[0], "promote")
        said = town.deploy("up", second, "--canary", "100%", status=1)
        pulling.join()
        promoting.join()
        assert "f2: pending" in said
        assert "f0: lost" in said
        # one of three dropped out of sight while traffic moved: the wave goes back, and so does f0 when it is seen again
        wait_for(lambda: town.rows()["f0"]["ready"], "f0 serves by itself after its power cut", every_s=0.5)
        town.deploy("pending")
        assert settled(town) == before

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
    finally:
        feed.stop()
    town.answered(feed)

    unfinished = town.deploy("audit", "--unfinished", "--json")
    assert '"promote"' in unfinished
    assert '"pull bundle"' in unfinished
    entries = town.audited()
    for machine in town.machines:
        mine = [entry["what"] for entry in entries if entry["device"] == machine.name]
        assert "promote" in mine
        assert "roll back" in mine
