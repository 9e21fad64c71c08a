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
import socketserver
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from deploy.fleet.inventory import Device
from deploy.remote.command import Command, Result
from edge_rnn.contract.errors import DeviceUnreachable

BUSYBOX = Path("/bin/busybox")
STUBS = Path(__file__).with_name("device_stubs")
TRACED = ("mkdir", "tail", "sed", "readlink", "systemctl", "podman", "ln", "mv", "rm", "mkfifo", "sync", "touch", "cat")
TRACE = """#!/bin/sh
PATH=/bin:/usr/bin; count=1
while ! mkdir "/trace/count.$count" 2>/dev/null; do count=$((count + 1)); done
read -r last </trace/last
if [ "$count" = "$last" ]; then touch /trace/struck; kill -9 $PPID; exit 137; fi
exec "${0##*/}" "$@"
"""
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
        _place(BUSYBOX, root / "bin/busybox")
        subprocess.run(["chroot", root, "/bin/busybox", "--install", "-s", "/bin"], check=True)
        for needed in {*_program("flock"), *_program("dash")}:  # of no busybox; and a shell that looks up every program
            _place(needed, root / str(needed)[1:])
        for stub in STUBS.iterdir():
            shutil.copy(stub, root / "bin" / stub.name)
        (root / "init").write_text(INIT)
        for name, minor in (("null", 3), ("zero", 5), ("urandom", 9)):
            os.mknod(root / "dev" / name, 0o20666, os.makedev(1, minor))
            (root / "dev" / name).chmod(0o666)

    def boot(self) -> None:
        self._process = subprocess.Popen(
            [
                *("unshare", "--mount", "--pid", "--fork", "--kill-child"),
                *(
                    "sh",
                    "-c",
                    'mount --bind "$1" "$1"; cd "$1"; exec chroot . /bin/env -i PATH=/bin:/usr/bin /bin/sh /init',
                ),
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

    def inside(self, *words: str, path: str = "/bin") -> list[str]:
        """Words that run a program on the device."""
        return [
            "nsenter",
            "-t",
            str(self._init),
            "-m",
            "-p",
            "-r",
            "-w",
            "/bin/env",
            "-i",
            f"PATH={path}:/usr/bin",
            *words,
        ]

    def run(self, line: str) -> subprocess.Popen[bytes]:
        """Begin a command line on the device."""
        words = self.inside("/bin/sh", "-c", line)
        return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def sh(self, line: str) -> str:
        """What a command line prints there; it must succeed."""
        process = self.run(line)
        stdout, stderr = process.communicate(timeout=60)
        assert process.returncode == 0, (line, stdout, stderr)
        return stdout.decode()

    def cut_off(self, command: Command, last: int) -> bool:
        """Run a script whose shell is killed where it would start its ``last``-th program; what it began goes on.

        Whether it came so far.
        """
        self.sh(f"rm -rf /trace; mkdir /trace; echo {last} >/trace/last")
        for name in TRACED:
            (self.root / "trace" / name).write_text(TRACE)
            (self.root / "trace" / name).chmod(0o755)
        words = self.inside("dash", *command.argv[1:], path="/trace:/bin")
        subprocess.run(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False
        )
        return (self.root / "trace/struck").exists()

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
        alive = self.sh(
            "for f in /run/stub/*.role; do n=${f##*/}; n=${n%.role}; pid= role=; "
            '{ read -r role <"$f"; read -r pid </run/stub/$n.pid; } 2>/dev/null; '
            'if [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null; then echo "$n $role"; fi; done'
        )
        return dict(line.split() for line in alive.splitlines())

    @property
    def doubled(self) -> str:
        """What was seen when two daemons served at the same time; empty: that never was."""
        told = self.root / "var/lib/stub/double"
        return told.read_text() if told.exists() else ""


def _place(file: Path, place: Path) -> None:
    """The same file there: a link where that can be."""
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(file.resolve(), place)
    except OSError:
        shutil.copy(file, place)


@cache
def _program(name: str) -> tuple[Path, ...]:
    """A program of this machine and its libraries."""
    program = shutil.which(name)
    assert program is not None, f"{name} is not installed"
    told = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    return (Path(program), *(Path(word) for word in told.split() if word.startswith("/")))


@dataclass
class Death:
    """A device dies in its ``command``-th command from now, ``delay_s`` after it began."""

    command: int
    delay_s: float


class PatientClock:
    """Time that passes only where somebody waits, for each thread by itself: time-outs count looks, however slow."""

    def __init__(self) -> None:
        self._began = time.time()
        self._mine = threading.local()

    def now(self) -> float:
        return self._began + getattr(self._mine, "waited", 0.0)

    def sleep(self, seconds: float) -> None:
        self._mine.waited = getattr(self._mine, "waited", 0.0) + seconds
        time.sleep(min(seconds, 0.02))


@contextmanager
def listening() -> Iterator[str]:
    """Something that listens: preflights connect to it. Gives its address."""

    class Accepts(socketserver.BaseRequestHandler):
        """Takes a connection and ends it."""

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Accepts) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


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
        process = simulated.run(command.line(sudo=False))
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
