"""Hosts on one machine: network namespaces on a bridge, each of which can be cut off. Needs root and iproute2."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from types import TracebackType


def why_no_network() -> str | None:
    """Why hosts cannot be made here, or ``None``."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "network namespaces need `ip` (package iproute2)"
    name = f"ernn{os.getpid()}t"
    made = _ip("link", "add", name, "type", "bridge", check=False)
    if made.returncode:
        return f"no bridge can be made: {made.stderr.strip()}"
    _ip("link", "del", name)
    return None


def _ip(*words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["ip", *words], capture_output=True, text=True, check=check)


class Network:
    """Named hosts with addresses in a private network; this process is its first address."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = list(names)
        self._tag = f"ernn{os.getpid()}"
        self._net = f"10.{200 + os.getpid() % 50}.{os.getpid() // 50 % 250}"
        self._bridge = f"{self._tag}b"
        try:
            self._make()
        except BaseException:
            self.close()
            raise

    def _make(self) -> None:
        _ip("link", "add", self._bridge, "type", "bridge")
        _ip("addr", "add", f"{self._net}.1/24", "dev", self._bridge)
        _ip("link", "set", self._bridge, "up")
        for name in self._names:
            space, outer = self._space(name), self._outer(name)
            _ip("netns", "add", space)
            _ip("link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", space)
            _ip("link", "set", outer, "master", self._bridge, "up")
            _ip("-n", space, "addr", "add", f"{self.address(name)}/24", "dev", "eth0")
            _ip("-n", space, "link", "set", "eth0", "up")
            _ip("-n", space, "link", "set", "lo", "up")

    def _space(self, name: str) -> str:
        return f"{self._tag}-{name}"

    def _outer(self, name: str) -> str:
        return f"{self._tag}{name}"

    def address(self, name: str) -> str:
        """The address of a host."""
        return f"{self._net}.{10 + self._names.index(name)}"

    def prefix(self, name: str) -> tuple[str, ...]:
        """What runs a command on a host; the process id is the command's own."""
        return ("ip", "netns", "exec", self._space(name))

    def cut(self, name: str) -> None:
        """Packets to and from a host are lost, silently, as with a cable pulled further away."""
        _ip("link", "set", self._outer(name), "nomaster")

    def heal(self, name: str) -> None:
        """The host is back."""
        _ip("link", "set", self._outer(name), "master", self._bridge)

    def close(self) -> None:
        """Remove all that was made."""
        for name in self._names:
            _ip("link", "del", self._outer(name), check=False)
            _ip("netns", "del", self._space(name), check=False)
        _ip("link", "del", self._bridge, check=False)

    def __enter__(self) -> Network:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
