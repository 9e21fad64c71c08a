"""Commands that are cut off anywhere, go on without their operator, or begin late: never do two daemons serve at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from deploy.remote import traffic
from deploy.remote.audit import parse_audit
from deploy.remote.change import Change
from deploy.remote.command import Command
from deploy.remote.executor import checked
from deploy.remote.layout import Slot
from deploy.rollout.back import roll_back
from deploy.rollout.rollout import roll_out
from deploy.rollout.site import Shipment, Site
from deploy.rollout.status import status
from deploy.rollout.steps import Steps
from edge_rnn.contract.errors import DeviceFailed, DeviceLocked
from tests.daemon.processes import wait_for
from tests.deploy.fleets import inventory, release_of, shipment_of, site_of
from tests.deploy.simulated import PatientClock, SimulatedDevice, SimulatedFleet, listening

SETTINGS = """
[gates]
bake = "1s"
ready = "60s"
within = "60s"
[rollout]
min-free = "1KB"
max-clock-skew = "1h"
"""
ROOT = "/var/lib/edge-rnn"
BASE = f"{ROOT}/activity"
UNIT = "edge-rnn-activity"
WHOLE = f"""
systemctl stop {UNIT}-a; systemctl stop {UNIT}-b; rm -rf /run/edge-rnn {BASE}/lock {BASE}/active.new
ln -sfn slots/a {BASE}/active; touch {BASE}/slots/a/served {BASE}/slots/b/served; systemctl start {UNIT}-a
until [ -e /run/stub/{UNIT}-a.pid ]; do usleep 2000; done
"""
"""Both slots hold a release, and a serves."""

SHADOWING = f"until podman exec {UNIT}-b python3 -m x GET 9465 /shadow >/dev/null 2>&1; do usleep 2000; done"


@pytest.fixture(scope="module")
def fleet(namespaces: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatedFleet]:
    fleet = SimulatedFleet(tmp_path_factory.mktemp("interrupted"), ["d0"])
    yield fleet
    fleet.close()


@pytest.fixture(scope="module")
def site(fleet: SimulatedFleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("journal")
    with listening() as broker:
        site = site_of(inventory(["d0"], SETTINGS, broker=broker), fleet, folder, clock=PatientClock(), poll_s=1.0)
        for name in ("first", "second"):
            with site.journal.held():
                report = roll_out(site, shipment(site, name), site.fleet.device)
            assert report.outcomes["d0"].state == "served", report
        yield site


@pytest.fixture
def device(fleet: SimulatedFleet, site: Site) -> SimulatedDevice:
    """A device on which slot a serves and slot b holds another release."""
    found = fleet.devices["d0"]
    (found.root / "etc/stub-behaviour").unlink(missing_ok=True)
    found.sh(WHOLE)
    return found


def shipment(site: Site, name: str) -> Shipment:
    return shipment_of(release_of(name), site.journal.folder)


def steps_of(site: Site, rollout: str) -> Steps:
    """The steps of somebody who has the device's lock."""
    steps = Steps(replace(site, rollout=rollout), site.fleet.device[0])
    steps.lock()
    return steps


def change_of(site: Site, rollout: str) -> Change:
    return replace(site, rollout=rollout).change(site.fleet.device[0])


def wait_for_one(device: SimulatedDevice, slot: Slot | None) -> None:
    """Nothing serves but this slot, now and when all that was under way has ended."""
    expected = {} if slot is None else {f"{UNIT}-{slot}": "serve"}
    there = lambda: f"{expected}, there is {device.daemons()}"  # noqa: E731
    wait_for(lambda: device.daemons() == expected, there, deadline_s=20, every_s=0.02)
    assert not device.doubled, device.doubled


def shadow(site: Site, device: SimulatedDevice) -> None:
    steps_of(site, "before")
    checked(site.executor, site.fleet.device[0], traffic.start_shadow(change_of(site, "before"), "b"))
    device.sh(SHADOWING)


PROMOTE = lambda change: traffic.promote(change, "podman", "b", 9465, 9464)  # noqa: E731
CHANGES: dict[str, tuple[bool, Callable[[Change], Command]]] = {
    "start-shadow": (False, lambda change: traffic.start_shadow(change, "b")),
    "stop-shadow": (True, lambda change: traffic.stop_shadow(change, "b")),
    "promote": (True, PROMOTE),
    "swap": (True, lambda change: traffic.swap(change, "b", first=False)),
    "roll-back": (False, lambda change: traffic.go_back(change, "b")),
    "settle": (True, traffic.settle),
    "withdraw": (True, traffic.withdraw),
}
"""Changes of traffic: whether a shadow runs before, and the command."""


@pytest.mark.parametrize("what", CHANGES)
def test_script_that_is_cut_off_anywhere_leaves_a_device_that_the_next_deploy_settles(site, device, what):
    shadows, make = CHANGES[what]
    for last in range(1, 60):
        device.sh(WHOLE)
        if shadows:
            shadow(site, device)
        steps_of(site, "one")
        struck = device.cut_off(make(change_of(site, "one")), last)
        device.sh("while ps | grep -q '[{]systemctl}'; do usleep 2000; done")  # what systemd was told, it was told
        steps = steps_of(site, "two")
        steps.settle()
        active = steps.look().active
        if active is not None:
            steps.wait_ready(active)
        wait_for_one(device, active)
        steps.unlock()
        if not struck:
            break
    assert 5 < last < 59
    print(f"{what}: cut off at {last - 1} places", flush=True)


def test_shadow_that_took_over_without_the_link_ends_before_the_other_starts_again(site, device):
    shadow(site, device)
    device.sh(f"systemctl stop {UNIT}-a; podman exec {UNIT}-b python3 -m x POST 9465 /promote")
    steps_of(site, "two").settle()
    wait_for_one(device, "a")


def test_daemon_that_is_still_starting_is_stopped_before_the_shadow_is_asked(site, device, fleet):
    shadow(site, device)
    image = (device.root / f"{BASE[1:]}/slots/a/image").read_text().strip()
    fleet.behave(image.partition("@")[2], "slow-start")
    device.sh(f"systemctl restart {UNIT}-a")
    steps_of(site, "two").promote("b", "")
    wait_for_one(device, "b")
    assert steps_of(site, "two").look().active == "b"


def begun_by_nobody(device: SimulatedDevice, command: Command) -> None:
    """A command that goes on on the device, with nobody at its other end."""
    process = device.run(command.line(sudo=False))
    for end in (process.stdin, process.stdout, process.stderr):
        assert end is not None
        end.close()
    threading.Thread(target=process.wait, daemon=True).start()


def slow_promotion(site: Site, device: SimulatedDevice, fleet: SimulatedFleet) -> None:
    """Begins one that takes long, and nobody waits for it."""
    image = (device.root / f"{BASE[1:]}/slots/b/image").read_text().strip()
    fleet.behave(image.partition("@")[2], "slow-promote")
    shadow(site, device)
    steps_of(site, "one")
    begun_by_nobody(device, PROMOTE(change_of(site, "one")))
    audit = device.root / BASE[1:] / "audit.jsonl"
    begun = lambda: parse_audit(audit.read_text(), "d0")[-1]  # noqa: E731
    wait_for(lambda: (begun().what, begun().outcome) == ("promote", "begun"), "a promotion under way", every_s=0.005)


def test_deploy_after_one_that_was_killed_waits_for_what_that_one_began(site, device, fleet):
    slow_promotion(site, device, fleet)
    with site.journal.held():
        report = roll_out(replace(site, rollout="two"), shipment(site, "third"), site.fleet.device)
    assert report.outcomes["d0"].state == "served", report
    wait_for_one(device, "a")
    (row,) = status(site, site.fleet.device)
    assert (row.state, row.release, row.before) == ("ok", report.release, shipment(site, "second").id)
    device.sh(WHOLE)
    restore(site)


def test_roll_back_after_a_promotion_that_nobody_waited_for_goes_to_the_release_before(site, device, fleet):
    slow_promotion(site, device, fleet)
    before = Steps(site, site.fleet.device[0]).look().slots["a"].release
    steps = steps_of(site, "two")
    observed = steps.look()
    assert (observed.active, observed.before) == ("b", before)
    with site.journal.held():
        (outcome,) = roll_back(replace(site, rollout="three"), site.fleet.device)
    assert outcome.state == "reverted"
    wait_for_one(device, "a")


def test_command_of_an_earlier_deploy_that_begins_late_is_refused_and_changes_nothing(site, device):
    shadow(site, device)
    steps_of(site, "one")
    late = PROMOTE(change_of(site, "one"))
    steps = steps_of(site, "two")
    done = device.run(late.line(sudo=False))
    assert "this deploy has the device no more" in done.communicate(timeout=30)[1].decode()
    assert done.returncode == 75
    assert steps.look().active == "a"
    assert device.daemons() == {f"{UNIT}-a": "serve", f"{UNIT}-b": "shadow"}
    Steps(replace(site, rollout="one"), site.fleet.device[0]).unlock()
    assert '"rollout": "two"' in steps.look().lock, "the lock was given back by one who had it before"
    steps.settle()
    wait_for_one(device, "a")


def test_operator_whose_lock_was_broken_changes_nothing_more(site, device):
    steps = steps_of(site, "one")
    (device.root / BASE[1:] / "lock").unlink()
    with pytest.raises(DeviceFailed, match="now it is of: nobody"):
        steps.settle()


def test_lock_is_not_given_while_a_change_does_not_end_and_says_which(site, device, monkeypatch):
    monkeypatch.setattr("deploy.remote.change.LOCK_WAIT_S", 1)
    steps_of(site, "one")
    hangs = change_of(site, "one").script("pull image", "sleep 1000")
    process = device.run(hangs.line(sudo=False))
    try:
        audit = device.root / BASE[1:] / "audit.jsonl"
        wait_for(lambda: '"pull image"' in audit.read_text().splitlines()[-1], "the change has begun")
        with pytest.raises(DeviceLocked, match=r'still at work.*"pull image"'):
            steps_of(site, "two")
    finally:
        device.sh("kill $(ps | awk '/[s]leep 1000$/ { print $1 }')")
        process.communicate(timeout=30)


def test_full_disk_keeps_no_device_from_going_back_and_its_audit_tells_so(site, device):
    device.sh(
        f"cp -a {ROOT} /tmp/copy; mount -t tmpfs -o size=1m none {ROOT}; cp -a /tmp/copy/. {ROOT}; rm -rf /tmp/copy"
    )
    try:
        steps = steps_of(site, "two")
        with_room = len(device.sh(f"cat {BASE}/audit.jsonl").splitlines())
        device.sh(f"[ -s {BASE}/reserve ]; cat /dev/zero >{BASE}/rubbish 2>/dev/null || true; ! echo x >{BASE}/more")
        for _ in range(20):  # more than there is room for in a page of the audit
            steps.settle()
        steps.go_back("b", "")
        steps.unlock()
        wait_for_one(device, "b")
        told = parse_audit(device.sh(f"cat {BASE}/audit.jsonl"), "d0")[with_room:]
        told = [entry for entry in told if entry.what != "unreadable"]  # what there was room for of a line
        assert len(told) == 42
        assert [(entry.what, entry.outcome) for entry in told[-2:]] == [("roll back", "begun"), ("roll back", "done")]
        assert "reserve" not in device.sh(f"ls {BASE}").split()
    finally:
        device.sh(f"systemctl stop {UNIT}-b; umount {ROOT}")


def restore(site: Site) -> None:
    """The slots as the other tests find them."""
    for name in ("first", "second"):
        with site.journal.held():
            roll_out(
                replace(site, rollout=f"again-{name}-{time.monotonic_ns()}"), shipment(site, name), site.fleet.device
            )
