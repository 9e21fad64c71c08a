"""The executor over ssh, against eight devices with a real sshd each."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from deploy.fleet.inventory import Device, Fleet, parse_inventory
from deploy.remote.audit import Entry
from deploy.remote.change import Change
from deploy.remote.command import Command, script
from deploy.remote.delivery import put
from deploy.remote.layout import Layout
from deploy.remote.ssh import SshExecutor, ssh_words
from deploy.rollout.fleetwide import everywhere
from deploy.rollout.rollout import preflight
from edge_rnn.contract.errors import DeviceUnreachable
from tests.deploy.fleets import APP, HOST_KEY, release_of, shipment_of, site_of
from tests.deploy.machines import Machine, booted

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def machines(containers: None, disk: Path) -> Iterator[list[Machine]]:
    with booted([f"m{number}" for number in range(8)], disk) as made:
        yield made


@pytest.fixture(scope="module")
def fleet(machines: list[Machine]) -> Fleet:
    text = APP.format(key=HOST_KEY, broker="127.0.0.1:1") + "".join(machine.table for machine in machines)
    return parse_inventory(text)


@pytest.fixture
def executor() -> Iterator[SshExecutor]:
    with SshExecutor() as executor:
        yield executor


def test_command_runs_as_root_on_each_of_eight_devices_and_as_the_user_without_it(fleet, executor):
    who = lambda root: lambda d: executor.run(d, Command("who", ("sh", "-c", "id -un; hostname"), root=root)).text  # noqa: E731
    answers = everywhere(fleet.device, 8, who(True))
    assert [a.value for a in answers] == [f"root\nm{n}\n" for n in range(8)], answers
    assert [a.value for a in everywhere(fleet.device, 8, who(True))] == [f"root\nm{n}\n" for n in range(8)]
    assert [a.value for a in everywhere(fleet.device, 8, who(False))] == [f"edge\nm{n}\n" for n in range(8)]


def test_preflight_of_eight_devices_finds_what_is_there_and_the_broker_that_is_not(fleet, executor, tmp_path):
    ready = preflight(site_of(fleet, executor, tmp_path), shipment_of(release_of("x"), tmp_path), fleet.device)
    assert not ready.facts
    reasons = {outcome.reason for outcome in ready.outcomes.values()}
    assert reasons == {f"m{n}: no broker of run.broker can be reached from the device" for n in range(8)}


def test_hostile_words_and_contents_arrive_as_they_are(fleet, executor):
    hostile = ["$(touch /PWNED)", "`touch /PWNED`", "a'b\"c", "x\ny", "; touch /PWNED", "ü\\", "*", "-n", ""]
    show = script("show", 'for one in "$@"; do printf "%s\\0" "$one"; done; cat', *hostile, stdin=bytes(range(256)))
    result = executor.run(fleet.device[0], show)
    assert result.stdout == "".join(f"{word}\0" for word in hostile).encode() + bytes(range(256))
    assert executor.run(fleet.device[0], Command("look", ("ls", "/PWNED"))).status != 0


def test_command_that_ends_with_the_status_of_a_broken_connection_is_not_taken_for_one(fleet, executor):
    ends = lambda status: executor.run(fleet.device[0], Command("end", ("sh", "-c", f"exit {status}"))).status  # noqa: E731
    assert [ends(status) for status in (0, 1, 2, 125, 254, 255)] == [0, 1, 2, 125, 254, 255]


def test_device_that_shows_another_host_key_is_not_talked_to(fleet, machines):
    wrong = msgspec.structs.replace(
        fleet.device[0], ssh=msgspec.structs.replace(fleet.device[0].ssh, host_key=machines[1].host_key)
    )
    with SshExecutor() as executor, pytest.raises(DeviceUnreachable, match="cannot be reached"):
        executor.run(wrong, Command("true", ("true",)))


def test_device_that_is_off_is_unreachable_and_the_others_go_on(fleet, machines, executor):
    machines[3].cut_power()
    try:
        answers = everywhere(fleet.device, 8, lambda d: executor.run(d, Command("true", ("true",))).status)
        assert [a.value for a in answers] == [0, 0, 0, None, 0, 0, 0, 0]
        assert isinstance(answers[3].error, DeviceUnreachable)
    finally:
        machines[3].power_on()
    assert executor.run(fleet.device[3], Command("true", ("true",))).status == 0


def test_power_cut_within_a_command_is_told_as_unreachable_not_as_failed(fleet, machines, executor):
    device, machine = fleet.device[4], machines[4]
    said: list[Exception] = []

    def wait() -> None:
        try:
            executor.run(device, Command("sleep", ("sleep", "60")))
        except DeviceUnreachable as error:
            said.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    deadline = time.monotonic() + 30
    while "sleep" not in machine.inside("ps", "-eo", "comm") and time.monotonic() < deadline:
        time.sleep(0.1)
    machine.cut_power()
    try:
        thread.join(60)
        assert len(said) == 1
    finally:
        machine.power_on()


def test_secret_content_is_in_no_process_list_no_log_and_no_audit(fleet, machines, executor):
    secret = b"hunter2-" + b"x" * 40
    device, machine = fleet.device[5], machines[5]
    change = Change(Layout("activity"), Entry(time="t", who="w", what="", device=device.name))
    command = put(change, "config", "/root/config.toml", secret, "600")
    slow = replace(command, argv=(*command.argv[:2], command.argv[2] + "\nsleep 3", *command.argv[3:]))
    thread = threading.Thread(target=lambda: executor.run(device, slow))
    thread.start()
    seen = ""
    while thread.is_alive():
        seen += machine.inside("ps", "-eo", "args", "ww")
        seen += subprocess.run(["ps", "-eo", "args", "ww"], capture_output=True, text=True, check=True).stdout
    assert "write config" in seen
    assert "hunter2" not in seen
    assert machine.inside("cat", "/root/config.toml").encode() == secret
    assert "hunter2" not in machine.inside("cat", "/var/lib/edge-rnn/activity/audit.jsonl")
    assert "hunter2" not in machine.inside("journalctl", "--no-pager", check=False)
    assert machine.inside("stat", "-c", "%a", "/root/config.toml").strip() == "600"


def test_ssh_is_called_with_pinned_keys_and_no_forwarding():
    device = Device(name="d1")
    device = msgspec.structs.replace(device, ssh=msgspec.structs.replace(device.ssh, host_key=HOST_KEY, jump="gate"))
    words = ssh_words(device, "true", Path("/k"), None)
    assert words[-3:] == ["--", "d1", "true"]
    for option in ("StrictHostKeyChecking=yes", "UserKnownHostsFile=/k", "ClearAllForwardings=yes", "BatchMode=yes"):
        assert option in words
    assert words[words.index("-J") + 1] == "gate"
