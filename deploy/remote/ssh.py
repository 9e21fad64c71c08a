"""Carries commands out over ssh: OpenSSH's own client, one kept connection a device, host keys pinned by the inventory.

The client of the system knows agents, hardware keys, jump hosts and the operator's own
configuration; the host keys do not come from there. Nothing secret is ever an argument: contents
go by standard input.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType

from deploy.fleet.inventory import Device
from deploy.remote.command import Command, Result
from edge_rnn.contract.errors import DeviceUnreachable, MissingDependency

CONNECTION_FAILED = 255
"""ssh's own exit status, and that of podman exec where a container does not run: see `telling`."""

INSTEAD = 254
REMARK = "edge-rnn: the command itself ended with status 255"
"""The last line of standard error where `INSTEAD` stands for ssh's own status."""

CONNECT_S = 10
KEEP_S = 60


def known_host(device: Device) -> str:
    """The line that pins a device's key: under an alias, so that address and port may change."""
    return f"{device.name} {device.ssh.host_key}\n"


def ssh_words(device: Device, line: str, known_hosts: Path, control: Path | None) -> list[str]:
    """The whole ssh command line, as a pure function; ``line`` is what the remote shell is given."""
    ssh = device.ssh
    options = [
        "BatchMode=yes",
        "StrictHostKeyChecking=yes",
        f"UserKnownHostsFile={known_hosts}",
        "GlobalKnownHostsFile=/dev/null",
        f"HostKeyAlias={device.name}",
        f"HostKeyAlgorithms={_algorithms(ssh.host_key or '')}",
        "UpdateHostKeys=no",
        "CheckHostIP=no",
        "ForwardAgent=no",
        "ClearAllForwardings=yes",
        "LogLevel=ERROR",
        f"ConnectTimeout={CONNECT_S}",
        "ServerAliveInterval=5",
        "ServerAliveCountMax=3",
    ]
    if control is not None:
        options += ["ControlMaster=auto", f"ControlPath={control}", f"ControlPersist={KEEP_S}"]
    words = ["ssh", "-T", "-p", str(ssh.port), "-l", ssh.user]
    words += [word for option in options for word in ("-o", option)]
    if ssh.identity is not None:
        words += ["-o", "IdentitiesOnly=yes", "-i", str(Path(ssh.identity).expanduser())]
    if ssh.jump is not None:
        words += ["-J", ssh.jump]
    return [*words, "--", ssh.host or device.name, line]


def telling(line: str) -> str:
    """A remote command line that never ends with ssh's own status, so that this one always means the connection."""
    remark = f"printf '\\n%s\\n' '{REMARK}' >&2"
    return f"{line} || {{ s=$?; if [ $s = {CONNECTION_FAILED} ]; then {remark}; s={INSTEAD}; fi; exit $s; }}"


def told(status: int, stdout: bytes, stderr: bytes) -> Result:
    """How a command ended on the device, from how its ``telling`` line did."""
    remark = f"\n{REMARK}\n".encode()
    if status == INSTEAD and stderr.endswith(remark):
        return Result(CONNECTION_FAILED, stdout, stderr.removesuffix(remark))
    return Result(status, stdout, stderr)


def why_broken(stderr: bytes) -> str:
    """What ssh said last; what sudo said on the device before the connection broke is not about it."""
    lines = [line for line in stderr.decode(errors="replace").splitlines() if line.strip()]
    said = [line.strip() for line in lines if not line.startswith("sudo: ")]
    return said[-1] if said else "the connection broke"


def _algorithms(host_key: str) -> str:
    kind = host_key.partition(" ")[0]
    return "rsa-sha2-512,rsa-sha2-256" if kind == "ssh-rsa" else kind


class SshExecutor:
    """An `Executor` over ssh; close it to end the connections that it keeps."""

    def __init__(self, *, keep: bool = True) -> None:
        """``keep``: one connection a device for all its commands. Raises `MissingDependency` without ssh."""
        if shutil.which("ssh") is None:
            raise MissingDependency("ssh is not installed; install OpenSSH's client (Debian: openssh-client)")
        self._folder = Path(tempfile.mkdtemp(prefix="edge-rnn-ssh-"))
        self._keep = keep
        self._devices: dict[str, Device] = {}

    def run(self, device: Device, command: Command) -> Result:
        """See `Executor`. A command that takes longer than it may is a lost connection: its end is not known."""
        known = self._known_hosts(device)
        control = self._control(device) if self._keep else None
        words = ssh_words(device, telling(command.line(sudo=device.ssh.sudo)), known, control)
        try:
            done = self._call(words, command)
        except subprocess.TimeoutExpired:
            raise DeviceUnreachable(
                f"{device.name}: {command.what} did not end within {command.timeout_s:g} s; the device may be stuck"
            ) from None
        if done.returncode == CONNECTION_FAILED:
            raise DeviceUnreachable(f"{device.name} cannot be reached: {why_broken(done.stderr)}")
        return told(done.returncode, done.stdout, done.stderr)

    def _call(self, words: list[str], command: Command) -> subprocess.CompletedProcess[bytes]:
        if command.stdin_file is None:
            return subprocess.run(
                words, input=command.stdin, capture_output=True, timeout=command.timeout_s, check=False
            )
        with command.stdin_file.open("rb") as file:
            return subprocess.run(words, stdin=file, capture_output=True, timeout=command.timeout_s, check=False)

    def _known_hosts(self, device: Device) -> Path:
        path = self._folder / f"{device.name}.known"
        if device.name not in self._devices:
            path.write_text(known_host(device))
            self._devices[device.name] = device
        return path

    def _control(self, device: Device) -> Path:
        """A short path: a socket's may have 104 bytes at most."""
        return self._folder / hashlib.sha256(device.name.encode()).hexdigest()[:12]

    def close(self) -> None:
        """End the connections and remove what was written."""
        for device in self._devices.values():
            control = self._control(device)
            if control.exists():
                with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                    subprocess.run(
                        ["ssh", "-O", "exit", "-o", f"ControlPath={control}", "--", device.ssh.host or device.name],
                        capture_output=True,
                        timeout=10,
                        check=False,
                        env={**os.environ, "LC_ALL": "C"},
                    )
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> SshExecutor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
