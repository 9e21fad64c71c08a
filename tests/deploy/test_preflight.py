"""What keeps a device from a release; and four hundred devices asked within ten seconds."""

from __future__ import annotations

import subprocess
import time

import msgspec
import pytest

from deploy.fleet.inventory import Device, RolloutPolicy
from deploy.remote.command import Command, Result
from deploy.remote.layout import Layout
from deploy.remote.looking import probe
from deploy.rollout.preflight import Facts, problems, read_facts
from deploy.rollout.rollout import preflight
from edge_rnn.contract.errors import DeviceUnreachable
from tests.deploy.fleets import inventory, release_of, shipment_of, site_of

GOOD = Facts(
    arch="amd64",
    time=1000.0,
    free=10**10,
    engine="podman",
    version=(4, 3),
    systemd=252,
    openssl=True,
    flock=True,
    broker="yes",
)


def change(**changes: object) -> Facts:
    return Facts(**{**{name: getattr(GOOD, name) for name in GOOD.__dataclass_fields__}, **changes})


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (change(arch="arm64"), "the architecture is arm64, the inventory says amd64"),
        (change(free=10**8), "0.10 GB free under /var/lib/edge-rnn, 1.00 GB needed"),
        (change(free=None), "cannot be told"),
        (change(time=900.0), "the clock is 100 s off"),
        (change(engine=None), "neither podman nor docker"),
        (change(version=(3, 0)), "podman is 3.0, expected 3.4 or newer"),
        (change(systemd=None), "systemd does not run there"),
        (change(broker="no"), "no broker of run.broker"),
        (change(key="other"), "the device trusts another key"),
        (change(openssl=False), "openssl is not installed"),
        (change(flock=False), "flock is not installed"),
    ],
)
def test_device_that_cannot_take_a_release_says_why(facts, said):
    found = problems(Device(name="d"), facts, RolloutPolicy(), now=1000.0, need_bytes=10**9, key="ours")
    assert [problem for problem in found if said in problem], found


def test_device_that_trusts_a_key_is_refused_an_unsigned_release():
    (found,) = problems(Device(name="d"), change(key="x"), RolloutPolicy(), now=1000.0, need_bytes=1, key=None)
    assert "signed releases only" in found


def test_device_without_the_gpu_of_the_inventory_is_refused():
    device = Device(name="d", accelerator="cuda")
    (found,) = problems(device, GOOD, RolloutPolicy(), now=1000.0, need_bytes=1, key=None)
    assert found == "the inventory says cuda, the device shows no GPU"
    assert not problems(device, change(gpu="cuda"), RolloutPolicy(), now=1000.0, need_bytes=1, key=None)


def test_good_device_has_no_problem():
    assert problems(Device(name="d"), GOOD, RolloutPolicy(), now=1000.0, need_bytes=1, key="k") == []


def test_probe_on_this_machine_tells_what_is_here(tmp_path):
    words = probe(Layout("app", str(tmp_path / "not" / "there")), "auto", ["127.0.0.1:1"]).argv
    facts = read_facts(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
    assert facts.arch in ("amd64", "arm64")
    assert abs(facts.time - time.time()) < 5
    assert facts.free is not None
    assert facts.free > 0
    assert facts.broker == "no"


@pytest.mark.parametrize(
    ("text", "engine", "version", "quadlet"),
    [
        ("podman=podman version 4.3.1", "podman", (4, 3), False),
        ("podman=podman version 5.4.2", "podman", (5, 4), True),
        ("docker=Docker version 20.10.24+dfsg1, build 297e128", "docker", (20, 10), False),
        ("podman=podman version 4.4.0\ndocker=Docker version 27", "podman", (4, 4), True),
        ("", None, (0, 0), False),
    ],
)
def test_engine_is_found_by_its_version(text, engine, version, quadlet):
    facts = read_facts(text)
    assert (facts.engine, facts.version, facts.quadlet) == (engine, version, quadlet)


class SlowExecutor:
    """Adds 100 ms to every command; one device in twenty is away."""

    def __init__(self) -> None:
        self.commands = 0

    def run(self, device: Device, command: Command) -> Result:
        time.sleep(0.1)
        self.commands += 1
        if device.name.endswith("7"):
            raise DeviceUnreachable(f"{device.name}: no route to host")
        now = int(time.time())
        text = (
            f"arch=x86_64\ntime={now}\nfree=99999999\npodman=podman version 4.3.1\nsystemd=252\nflock=yes\nbroker=yes\n"
        )
        return Result(0, text.encode())


def test_plan_and_preflight_of_four_hundred_devices_take_less_than_ten_seconds(tmp_path):
    executor = SlowExecutor()
    site = site_of(inventory([f"d{n}" for n in range(400)]), executor, tmp_path)
    began = time.monotonic()
    ready = preflight(site, shipment_of(release_of("x"), tmp_path), site.fleet.device)
    seconds = time.monotonic() - began
    print(f"preflight of 400 devices: {seconds:.2f} s, {executor.commands} commands of 100 ms")
    assert len(ready.facts) == 360
    assert {outcome.state for outcome in ready.outcomes.values()} == {"pending"}
    assert seconds < 10


class FullDevice:
    """Has 2 GB free, and the image of the release or not."""

    def __init__(self, there: str) -> None:
        self.there = there
        self.asked: tuple[str, ...] = ()

    def run(self, device: Device, command: Command) -> Result:
        self.asked = command.argv
        text = f"arch=x86_64\ntime={int(time.time())}\nfree={2 * 10**6}\npodman=podman version 4.3.1\n{self.there}\n"
        return Result(0, f"{text}systemd=252\nflock=yes\nbroker=yes\n".encode())


@pytest.mark.parametrize(("there", "able"), [("podman.image=yes", True), ("docker.image=yes", False), ("", False)])
def test_device_needs_no_room_for_an_image_that_is_there(tmp_path, there, able):
    executor = FullDevice(there)
    site = site_of(inventory(["d0"]), executor, tmp_path)
    release = release_of("x")
    (image,) = release.images
    large = msgspec.structs.replace(image, bytes=10**9)
    shipment = shipment_of(msgspec.structs.replace(release, images=(large,)), tmp_path)
    ready = preflight(site, shipment, site.fleet.device)
    assert f"registry.test:5000/edge@{image.digest}" in executor.asked
    assert bool(ready.facts) == able
    if not able:
        assert "2.05 GB free under /var/lib/edge-rnn, 3.50 GB needed" in ready.outcomes["d0"].reason
