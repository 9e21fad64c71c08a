"""A fleet of simulated devices: each a root directory and processes of its own, in namespaces of their own.

What a device is told runs there for real: BusyBox's shell interprets every command line, the units
decide what starts. Only podman and systemd are stand-ins (`device_stubs`), so that fifty fit on one
machine. Killing a device kills all that runs there at once, wherever it is; its files stay.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from deploy.fleet.inventory import Device
from deploy.remote.command import Command, Result
from edge_rnn.contract.errors import DeviceUnreachable

BUSYBOX = Path("/bin/busybox")
STUBS = Path(__file__).with_name("device_stubs")
INIT = """#!/bin/sh
mount -t proc proc /proc
rm -rf /run/* /tmp/*
systemctl boot >/dev/null 2>&1
trap : TERM INT HUP
: >/run/up
while :; do sleep 1000 & wait $!; done
"""


def unavailable() -> str | None:
    """Why no simulated device can run here; ``None``: they can."""
    if os.geteuid():
        return "simulated devices need root, for namespaces and chroot"
    if not BUSYBOX.exists():
        return "simulated devices need /bin/busybox; run make containers"
    if b"statically" not in subprocess.run(["file", "-L", BUSYBOX], capture_output=True, check=False).stdout and (
        subprocess.run(["ldd", BUSYBOX], capture_output=True, check=False).returncode == 0
    ):
        return "simulated devices need a static busybox (busybox-static); run make containers"
    return None


class SimulatedDevice:
    """One device: `boot` it, `kill` it, look at its files under ``root``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._process: subprocess.Popen[bytes] | None = None
        self._init = 0
        for folder in ("bin", "proc", "dev", "run", "tmp", "etc", "var/lib", "var/log"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        os.link(BUSYBOX, root / "bin/busybox") if _same_disk(root) else shutil.copy(BUSYBOX, root / "bin/busybox")
        subprocess.run(["chroot", root, "/bin/busybox", "--install", "-s", "/bin"], check=True)
        for stub in STUBS.iterdir():
            shutil.copy(stub, root / "bin" / stub.name)
        (root / "init").write_text(INIT)
        os.mknod(root / "dev/null", 0o20666, os.makedev(1, 3))
        (root / "dev/null").chmod(0o666)

    def boot(self) -> None:
        self._process = subprocess.Popen(
            [
                *("unshare", "--mount", "--pid", "--fork", "--kill-child"),
                *("sh", "-c", 'mount --bind "$1" "$1"; cd "$1"; exec chroot . /bin/env -i PATH=/bin /bin/sh /init'),
                *("device", str(self.root)),
            ],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        deadline = time.monotonic() + 30
        while not (found := children.read_text().split()) or not (self.root / "run/up").exists():
            assert self._process.poll() is None, "the device died while it booted"
            assert time.monotonic() < deadline, "the device did not boot"
            time.sleep(0.002)
        self._init = int(found[0])

    @property
    def up(self) -> bool:
        return self._process is not None

    def run(self, line: str, stdin: bytes) -> subprocess.Popen[bytes]:
        words = [
            "nsenter",
            "-t",
            str(self._init),
            "-m",
            "-p",
            "-r",
            "-w",
            "/bin/env",
            "-i",
            "PATH=/bin",
            "/bin/sh",
            "-c",
            line,
        ]
        return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def kill(self) -> None:
        """A power cut: init dies, and the kernel kills all that lives in its process namespace."""
        process, self._process = self._process, None
        if process is not None:
            os.kill(self._init, signal.SIGKILL)
            process.wait(30)
        (self.root / "run/up").unlink(missing_ok=True)

    # -- the truth, as it lies on the disk and in the process table ---------------------------------------------------

    def serves(self) -> str:
        """The release that the device's own files name."""
        base = self.root / "var/lib/edge-rnn/activity"
        if not (base / "active").is_symlink():
            return ""
        return (base / str((base / "active").readlink()) / "release").read_text().strip()

    def daemons(self) -> dict[str, str]:
        """Container name to role of the daemons that live now."""
        alive = self.run(
            "for f in /run/stub/*.role; do n=${f##*/}; n=${n%.role}; "
            'if kill -0 "$(cat /run/stub/$n.pid)" 2>/dev/null; then echo "$n $(cat $f)"; fi; done',
            b"",
        )
        return dict(line.split() for line in alive.communicate()[0].decode().splitlines())

    @property
    def doubled(self) -> str:
        """What was seen when two daemons served at the same time; empty: that never was."""
        told = self.root / "var/lib/stub/double"
        return told.read_text() if told.exists() else ""


def _same_disk(root: Path) -> bool:
    return root.stat().st_dev == BUSYBOX.stat().st_dev


@dataclass
class Death:
    """A device dies in its ``command``-th command from now, ``delay_s`` after it began."""

    command: int
    delay_s: float


class SimulatedFleet:
    """An executor over simulated devices."""

    def __init__(self, folder: Path, names: list[str]) -> None:
        self.devices = {name: SimulatedDevice(folder / name) for name in names}
        self.deaths: dict[str, Death] = {}
        self.commands = 0
        self._mutex = threading.Lock()
        for device in self.devices.values():
            device.boot()

    def doom(self, name: str, draw: random.Random, commands: int = 24) -> None:
        """Let a device die at a random point of its next commands."""
        self.deaths[name] = Death(draw.randrange(1, commands), draw.uniform(0.0, 0.05))

    def behave(self, digest: str, *kinds: str, names: list[str] | None = None) -> None:
        """Make an image bad on some devices: golden, shadow, ready, promote."""
        for name in names or list(self.devices):
            with (self.devices[name].root / "etc/stub-behaviour").open("a") as file:
                file.writelines(f"{digest} {kind}\n" for kind in kinds)

    def run(self, device: Device, command: Command) -> Result:
        simulated = self.devices[device.name]
        if not simulated.up:
            raise DeviceUnreachable(f"{device.name}: no route to host")
        with self._mutex:
            self.commands += 1
            death = self.deaths.get(device.name)
            if death is not None:
                death.command -= 1
                if death.command > 0:
                    death = None
        process = simulated.run(command.line(sudo=False), command.stdin)
        if death is not None:
            timer = threading.Timer(death.delay_s, simulated.kill)
            timer.start()
        try:
            stdout, stderr = process.communicate(command.stdin, timeout=60)
        except subprocess.TimeoutExpired:
            simulated.kill()
            raise AssertionError(f"{device.name}: {command.what} hangs") from None
        if death is not None:
            timer.join()
            self.deaths.pop(device.name, None)
        if not simulated.up:
            raise DeviceUnreachable(f"{device.name}: connection reset")
        return Result(process.returncode, stdout, stderr)

    def close(self) -> None:
        for device in self.devices.values():
            device.kill()
