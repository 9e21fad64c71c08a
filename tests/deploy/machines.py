"""Devices with a real sshd, a real systemd and a real podman: containers with roots of their own, on loopback ports."""

from __future__ import annotations

import contextlib
import random
import shutil
import socket
import subprocess
import threading
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from tests.daemon.processes import wait_for
from tests.deploy.containers import DEVICE, PODMAN, ULIMITS, call

_given: set[int] = set()
_mutex = threading.Lock()


def kept_port() -> int:
    """A free port that no connection gets from the kernel, so that a device that is off finds it free again."""
    with _mutex:
        for port in random.sample(range(10_000, 20_000), 1000):
            with contextlib.suppress(OSError), socket.socket() as listener:
                listener.bind(("127.0.0.1", port))
                if port not in _given:
                    _given.add(port)
                    return port
    raise AssertionError("no port between 10000 and 20000 is free")


class Machine:
    """One device. `cut_power` ends everything on it at once; `power_on` boots it again with its disk."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder / name
        self.folder.mkdir(parents=True)
        self.port = kept_port()
        self.pid = 0
        self.container = f"edge-rnn-{uuid.uuid4().hex[:8]}-{name}"
        self.identity = folder / "id"
        if not self.identity.exists():
            call("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.identity)
        call("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.folder / "host")
        (self.folder / "storage").mkdir()
        call(
            *(*PODMAN, "create", "--name", self.container, "--runtime", "runc", "--privileged", "--systemd=always"),
            *(
                "--network=host",
                "--hostname",
                name,
                "--add-host",
                f"{name}:127.0.0.1",
                *ULIMITS,
                "--volume",
                f"{self.folder}/storage:/var/lib/containers",
            ),
            *(DEVICE, "/sbin/init"),
        )
        sshd = self.folder / "sshd_config"
        sshd.write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey /etc/ssh/host\nPasswordAuthentication no\n"
            "PermitRootLogin no\nAuthorizedKeysFile /etc/ssh/authorized_keys\nStrictModes no\nMaxStartups 100\nUsePAM yes\n"
        )
        for file, place in (
            (self.folder / "host", "host"),
            (sshd, "sshd_config"),
            (self.identity.with_suffix(".pub"), "authorized_keys"),
        ):
            call("podman", "cp", file, f"{self.container}:/etc/ssh/{place}")
        self.power_on()

    @property
    def host_key(self) -> str:
        return " ".join((self.folder / "host.pub").read_text().split()[:2])

    @property
    def table(self) -> str:
        """The device's table in an inventory."""
        return (
            f'[[device]]\nname = "{self.name}"\n[device.ssh]\nhost = "127.0.0.1"\nport = {self.port}\nuser = "edge"\n'
            f'host-key = "{self.host_key}"\nidentity = "{self.identity}"\n'
        )

    def power_on(self) -> None:
        call(*PODMAN, "start", self.container)
        self.pid = int(call(*PODMAN, "inspect", "--format", "{{.State.Pid}}", self.container))
        wait_for(self._answers, f"sshd of {self.name}", deadline_s=60)

    def _answers(self) -> bool:
        scan = ["ssh-keyscan", "-T", "2", "-p", str(self.port), "127.0.0.1"]
        return b"ssh-" in subprocess.run(scan, capture_output=True, check=False).stdout

    def cut_power(self) -> None:
        """SIGKILL to all of it."""
        call(*PODMAN, "kill", "--signal", "KILL", self.container)
        call(*PODMAN, "wait", self.container)

    def freeze(self) -> None:
        """All of it stands still: the kernel still takes its connections, and nobody answers."""
        call(*PODMAN, "pause", self.container)

    def thaw(self) -> None:
        call(*PODMAN, "unpause", self.container)

    def read(self, path: str) -> str:
        """A file of its disk while it runs; empty where there is none. Costs it nothing."""
        try:
            return Path(f"/proc/{self.pid}/root{path}").read_text()
        except OSError:
            return ""

    def inside(self, *words: str, check: bool = True) -> str:
        """Run something there, not by ssh."""
        done = subprocess.run(["podman", "exec", self.container, *words], capture_output=True, text=True, check=False)
        assert not check or done.returncode == 0, (words, done.stdout[-1500:], done.stderr[-1500:])
        return done.stdout

    def close(self) -> None:
        subprocess.run([*PODMAN, "rm", "--force", "--time", "0", self.container], capture_output=True, check=False)
        shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def booted(names: Sequence[str], folder: Path) -> Iterator[list[Machine]]:
    """Machines of these names, which end with the block."""
    machines: list[Machine] = []
    try:
        machines.append(Machine(names[0], folder))  # makes the key of all
        with ThreadPoolExecutor(2) as pool:
            made = [pool.submit(Machine, name, folder) for name in names[1:]]
        machines += [each.result() for each in made if each.exception() is None]
        for each in made:
            each.result()
        yield machines
    finally:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(Machine.close, machines))
