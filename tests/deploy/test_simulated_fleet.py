"""Simulated devices, fifty in make fleet: waves, gates, deaths at random points, the way back; what status says is what is there."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.remote.audit import parse_audit, unfinished
from deploy.rollout.back import roll_back
from deploy.rollout.catch_up import catch_up, pending
from deploy.rollout.rollout import roll_out
from deploy.rollout.site import Shipment, Site
from deploy.rollout.status import Row, status
from tests.deploy.fleets import inventory, release_of, shipment_of, site_of
from tests.deploy.simulated import PatientClock, SimulatedFleet, listening

QUICK = """
[gates]
bake = "1s"
ready = "30s"
within = "30s"
[rollout]
parallel = 16
min-free = "1KB"
max-clock-skew = "1h"
canary = "2"
waves = ["50%"]
"""
SEEDS = range(int(os.environ.get("EDGE_RNN_FLEET_SEEDS", "2")))
DEVICES = int(os.environ.get("EDGE_RNN_FLEET_DEVICES", "8"))

TIME = {"clock": PatientClock(), "poll_s": 1.0}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def simulated(namespaces: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatedFleet]:
    fleet = SimulatedFleet(tmp_path_factory.mktemp("fleet"), [f"d{number:02}" for number in range(DEVICES)])
    yield fleet
    fleet.close()


@pytest.fixture(scope="module")
def broker() -> Iterator[str]:
    with listening() as address:
        yield address


@pytest.fixture
def site(simulated: SimulatedFleet, broker: str, tmp_path: Path) -> Site:
    for device in simulated.devices.values():
        if not device.up:
            device.boot()
    simulated.deaths.clear()
    return site_of(inventory(list(simulated.devices), QUICK, broker=broker), simulated, tmp_path / "journal", **TIME)


def ship(simulated: SimulatedFleet, site: Site, name: str, folder: Path, **bad: list[str]) -> Shipment:
    shipment = shipment_of(release_of(name), folder)
    for kind, names in bad.items():
        simulated.behave(shipment.release.images[0].digest, kind, names=names)
    return shipment


def agree(simulated: SimulatedFleet, rows: list[Row]) -> None:
    """What status says of each device is what lies on its disk and runs there."""
    for row in rows:
        device = simulated.devices[row.device]
        assert not device.doubled, f"{row.device}: two daemons served at once\n{device.doubled}"
        if not device.up:
            assert row.state in ("pending", "unreachable"), row
            continue
        assert row.release == device.serves(), row
        roles = sorted(device.daemons().values())
        if row.state == "ok":
            assert roles == ["serve"], (row, roles)


def audits(simulated: SimulatedFleet, name: str) -> list:
    path = simulated.devices[name].root / "var/lib/edge-rnn/activity/audit.jsonl"
    return parse_audit(path.read_text(), name)


@pytest.fixture
def served(simulated: SimulatedFleet, site: Site, tmp_path: Path) -> Shipment:
    """All devices serve one release, whatever was there before."""
    shipment = ship(simulated, site, f"first-{tmp_path.name}", tmp_path)
    for device in simulated.devices.values():
        (device.root / "var/lib/edge-rnn/activity/lock").unlink(missing_ok=True)
    with site.journal.held():
        report = roll_out(site, shipment, site.fleet.device, canary="100%")
    assert report.count("served", "unchanged") == len(simulated.devices), report
    return shipment


@pytest.mark.parametrize("seed", SEEDS)
def test_devices_that_die_at_random_points_end_in_the_state_that_status_says(simulated, site, served, tmp_path, seed):
    draw = random.Random(seed)
    doomed = draw.sample(sorted(simulated.devices), min(5, DEVICES // 4 or 1))
    spoilt = draw.sample(sorted(set(simulated.devices) - set(doomed)), 1) if draw.random() < 0.4 else []
    kind = draw.choice(["golden", "shadow", "ready", "promote"])
    shipment = ship(simulated, site, f"second-{seed}-{tmp_path.name}", tmp_path, **({kind: spoilt} if spoilt else {}))
    for name in doomed:
        simulated.doom(name, draw)
    with site.journal.held():
        report = roll_out(site, shipment, site.fleet.device)
    agree(simulated, status(site, site.fleet.device))
    for name in doomed:
        simulated.deaths.pop(name, None)
        if not simulated.devices[name].up:
            simulated.devices[name].boot()
    with site.journal.held():
        tries = []
        for _ in range(3):
            tries.append(catch_up(site, shipment, site.fleet.device))
            if not pending(site, site.fleet.device):
                break
    rows = status(site, site.fleet.device)
    agree(simulated, rows)
    last_wave = report.waves[-1]
    for row in rows:
        outcome = report.outcomes[row.device]
        in_failed_wave = report.problem and any(row.device == each.device for each in last_wave.outcomes)
        untouched = report.problem and outcome.state in ("not-reached", "pending", "blocked")
        expected = served.id if in_failed_wave or untouched else shipment.id
        assert (row.state, row.release) == ("ok", expected), f"{row}\n{outcome}\n{report.problem}\n{tries}"
        told = [entry for entry in audits(simulated, row.device) if entry.release == expected]
        assert any(entry.what in ("promote", "swap", "roll back") and entry.outcome == "done" for entry in told), row
    if not report.problem:
        assert report.count("served", "pending", "lost") == len(simulated.devices)


def test_release_that_fails_its_golden_vectors_stops_at_the_canary(simulated, site, served, tmp_path):
    shipment = ship(simulated, site, "golden", tmp_path, golden=list(simulated.devices))
    with site.journal.held():
        report = roll_out(site, shipment, site.fleet.device)
    assert "golden vectors" in report.problem
    assert len(report.waves) == 1
    assert report.count("failed") == 2
    assert report.count("not-reached") == len(simulated.devices) - 2
    rows = status(site, site.fleet.device)
    agree(simulated, rows)
    assert {row.release for row in rows} == {served.id}


def test_model_that_disagrees_in_the_shadow_is_never_promoted(simulated, site, served, tmp_path):
    shipment = ship(simulated, site, "disagrees", tmp_path, shadow=list(simulated.devices))
    with site.journal.held():
        report = roll_out(site, shipment, site.fleet.device)
    assert "labels are equal in 40.0%" in report.problem
    assert all(not outcome.moved for outcome in report.outcomes.values())
    rows = status(site, site.fleet.device)
    assert shipment.id not in {row.before for row in rows}, "a roll-back would go to what never served"
    agree(simulated, rows)
    assert {(row.state, row.release) for row in rows} == {("ok", served.id)}


def test_wave_whose_last_device_is_not_ready_goes_back_whole_and_those_before_stay(simulated, site, served, tmp_path):
    last = sorted(simulated.devices)[-1]
    shipment = ship(simulated, site, "not-ready", tmp_path, ready=[last])
    with site.journal.held():
        report = roll_out(site, shipment, site.fleet.device)
    assert last in report.problem
    in_wave = {outcome.device for outcome in report.waves[-1].outcomes}
    rows = status(site, site.fleet.device)
    agree(simulated, rows)
    for row in rows:
        assert (row.state, row.release) == ("ok", served.id if row.device in in_wave else shipment.id)


def test_device_that_is_away_gets_its_turn_when_it_is_back(simulated, site, served, tmp_path):
    away = sorted(simulated.devices)[3]
    simulated.devices[away].kill()
    shipment = ship(simulated, site, "later", tmp_path)
    with site.journal.held():
        report = roll_out(site, shipment, site.fleet.device)
        assert report.outcomes[away].state == "pending"
        assert report.count("served") == len(simulated.devices) - 1
        assert {row.device: row.state for row in status(site, site.fleet.device)}[away] == "pending"
        catch_up(site, shipment, site.fleet.device)
        assert [device.name for device in pending(site, site.fleet.device)] == [away]
        simulated.devices[away].boot()
        (outcome,) = catch_up(site, shipment, site.fleet.device)
    assert outcome.state == "served"
    assert {row.release for row in status(site, site.fleet.device)} == {shipment.id}


@pytest.mark.parametrize(
    "fault",
    [
        "echo '{digest} ready' >>/etc/stub-behaviour",
        "rm /var/lib/stub/images/{digest}; systemctl restart {unit}",
        "sed -i s,^ExecStartPre=.*,ExecStartPre=/bin/false, /etc/systemd/system/{unit}.service; systemctl stop {unit}",
    ],
    ids=["not-ready", "dies", "does-not-start"],
)
def test_daemon_that_is_broken_is_replaced_without_a_shadow_and_the_others_are_compared(
    simulated, site, served, tmp_path, fault
):
    broken = sorted(simulated.devices)[1]
    device, digest = simulated.devices[broken], served.release.images[0].digest
    slot = (device.root / "var/lib/edge-rnn/activity/active").readlink().name
    device.sh(fault.format(digest=digest, unit=f"edge-rnn-activity-{slot}"))
    assert {row.device for row in status(site, site.fleet.device) if row.state == "not-ready"} == {broken}
    shipment = ship(simulated, site, f"mends-{tmp_path.name}", tmp_path)
    with site.journal.held():
        report = roll_out(site, shipment, site.fleet.device)
    assert report.count("served") == len(simulated.devices), report
    rows = status(site, site.fleet.device)
    agree(simulated, rows)
    assert {(row.state, row.release) for row in rows} == {("ok", shipment.id)}
    done = {
        name: [e.what for e in audits(simulated, name) if (e.release, e.outcome) == (shipment.id, "done")]
        for name in simulated.devices
    }
    assert {name for name, whats in done.items() if "swap" in whats} == {broken}
    assert {name for name, whats in done.items() if "start shadow" in whats} == set(done) - {broken}


def test_status_of_a_device_whose_podman_hangs_is_told_within_half_a_minute(simulated, site, served):
    name = sorted(simulated.devices)[1]
    device = simulated.devices[name]
    device.sh(
        "mv /bin/podman /bin/podman.kept; printf '#!/bin/sh\\nexec sleep 1000\\n' >/bin/podman; chmod 755 /bin/podman"
    )
    try:
        began = time.monotonic()
        (row,) = status(site, [site.fleet.named(name)])
        assert time.monotonic() - began < 30
    finally:
        device.sh("mv /bin/podman.kept /bin/podman")
    assert (row.state, row.release) == ("not-ready", served.id)


def test_rollback_goes_to_the_release_before_also_for_a_device_that_comes_back_later(simulated, site, served, tmp_path):
    shipment = ship(simulated, site, "back", tmp_path)
    away = sorted(simulated.devices)[1]
    with site.journal.held():
        roll_out(site, shipment, site.fleet.device, canary="100%")
        simulated.devices[away].kill()
        outcomes = roll_back(site, site.fleet.device)
        assert {outcome.state for outcome in outcomes} == {"reverted", "pending"}
        simulated.devices[away].boot()
        catch_up(site, shipment, site.fleet.device)
    rows = status(site, site.fleet.device)
    agree(simulated, rows)
    assert {(row.state, row.release) for row in rows} == {("ok", served.id)}


def test_lock_of_another_operator_is_respected_and_named(simulated, site, served, tmp_path):
    name = sorted(simulated.devices)[0]
    lock = simulated.devices[name].root / "var/lib/edge-rnn/activity/lock"
    lock.write_text('other-token\n{"who": "eve@elsewhere"}\n')
    shipment = ship(simulated, site, "locked", tmp_path)
    with site.journal.held():
        report = roll_out(site, shipment, [site.fleet.named(name)])
    assert report.outcomes[name].state == "blocked"
    assert "eve@elsewhere" in report.outcomes[name].reason
    assert "deploy unlock" in report.outcomes[name].reason
    assert simulated.devices[name].serves() == served.id
    lock.unlink()


def test_audit_tells_who_did_what_and_what_was_never_ended(simulated, site, served, tmp_path):
    name = sorted(simulated.devices)[2]
    shipment = ship(simulated, site, "audited", tmp_path)
    with site.journal.held():
        roll_out(site, shipment, [site.fleet.named(name)])
    entries = [entry for entry in audits(simulated, name) if entry.release == shipment.id]
    assert {entry.who for entry in entries} == {"tester@here"}
    assert [e.what for e in entries if e.outcome == "done"][-2:] == ["start shadow", "promote"]
    assert not [entry for entry in unfinished(entries) if entry.release == shipment.id]
