"""From a bundle to devices and back: three of them, eight in make fleet; what is bad is never promoted."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon.processes import wait_for
from tests.deploy.containers import Registry
from tests.deploy.machines import booted
from tests.deploy.town import COUNT, Feed, Town, served

pytestmark = [pytest.mark.fleet, pytest.mark.slow, pytest.mark.kafka, pytest.mark.timeout(580)]


@pytest.fixture(scope="module")
def town(
    containers: None, registry: Registry, kafka_broker: str, disk: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Town]:
    with booted([f"t{number}" for number in range(COUNT)], disk) as machines:
        yield Town(tmp_path_factory.mktemp("town"), machines, registry, kafka_broker)


@pytest.fixture(scope="module")
def first(town: Town) -> Path:
    """What all devices serve, signed."""
    release = town.release("first")
    town.deploy("up", release)
    rows = town.rows()
    assert {row["state"] for row in rows.values()} == {"ok"}, rows
    return Path(release)


@pytest.fixture(scope="module")
def feed(town: Town, first: Path) -> Iterator[Feed]:
    """Records for every device, from before the first bad model until all that was sent is to be answered."""
    feed = Feed(town.broker, [machine.name for machine in town.machines])
    yield feed
    feed.stop()


@pytest.mark.parametrize(
    ("name", "reason"),
    [("disagrees", "of outputs are within"), ("infinite", "the new model refuses"), ("slow", "a step takes")],
)
def test_model_that_is_bad_in_the_shadow_of_the_canary_is_not_promoted(town, feed, name, reason):
    before = served(town.rows())
    said = town.deploy("up", town.release(name), status=1)
    assert reason in said
    assert ": promoting" not in said
    assert f"{COUNT - 1} not-reached" in said
    assert served(town.rows()) == before


def test_release_that_was_altered_after_it_was_signed_reaches_no_device(town, first):
    altered = first / "release.json"
    good = altered.read_bytes()
    altered.write_bytes(good.replace(b"0.1.0", b"0.1.1"))
    assert "altered or is signed by another key" in town.deploy("up", str(first), status=1)
    altered.write_bytes(good)


def test_good_model_is_promoted_everywhere_and_back_and_nothing_is_lost_or_doubled(town, feed):
    before, second = town.rows(), town.release("second")
    feed.longest_pauses()
    time.sleep(3)
    usual = feed.longest_pauses()
    said = town.deploy("up", second)
    assert said.count(": promoting") == COUNT
    after = town.rows()
    assert {row["state"] for row in after.values()} == {"ok"}
    assert not {row["release"] for row in after.values()} & {row["release"] for row in before.values()}
    print(f"longest time without an output: {feed.longest_pauses()}; before: {usual}", flush=True)

    town.deploy("rollback")
    assert served(town.rows()) == served(before)
    assert "nothing to roll back to" in town.deploy("rollback", status=2)
    feed.stop()
    town.answered(feed)

    entries = town.audited()
    done = [(entry["device"], entry["what"]) for entry in entries if entry.get("outcome", "done") == "done"]
    for machine in town.machines:
        assert done.count((machine.name, "promote")) == 1
        assert done.count((machine.name, "roll back")) == 1
    (canary,) = {entry["device"] for entry in entries if entry["what"] == "stop shadow"}
    assert done.count((canary, "start shadow")) == 4
    promoted = {entry["release"] for entry in entries if entry["what"] == "promote"}
    assert promoted == {row["release"] for row in after.values()}


def test_secret_is_in_no_log_no_audit_no_process_list_and_no_image(town):
    assert "hunter2" not in town.deploy("audit", "--json") + town.deploy("logs", "-n", "500")
    for machine in town.machines:
        assert "hunter2" not in machine.inside("ps", "-eo", "args", "ww")
        assert "hunter2" not in machine.inside("sh", "-c", "podman inspect $(podman ps -aq)")
        assert "hunter2" in machine.inside("sh", "-c", "cat /var/lib/edge-rnn/activity/slots/*/config.toml")


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
    assert "t0: it ended with status 255" in town.deploy("exec", "sh", "-c", "exit 255", to="t0", status=1)
    bundles = "/var/lib/edge-rnn/activity/bundles"
    before = town.machines[0].inside("ls", bundles).split()
    town.machines[0].inside("sh", "-c", 'printf \'x\\n{"who": "eve"}\\n\' >/var/lib/edge-rnn/activity/lock')
    assert "locked by" in town.deploy("prune", status=1, to="t0")
    assert "eve" in town.deploy("unlock", to="t0")
    town.deploy("prune", to="t0")
    assert len(town.machines[0].inside("ls", bundles).split()) < len(before)
    by_ssh, loaded = town.machines[1], "localhost/edge-rnn/activity"
    by_ssh.inside("sh", "-c", f"tar -cf - /etc/hostname | podman import --quiet - {loaded}:old")
    names = ("podman", "image", "ls", "--format", "{{.Repository}}:{{.Tag}}")
    assert by_ssh.inside(*names).count(loaded) == 2
    assert "t1: removed image=sha256:" in town.deploy("prune", to="t1")
    assert by_ssh.inside(*names).count(loaded) == 1
    assert {town.rows()[name]["state"] for name in ("t0", "t1")} == {"ok"}
