"""Whether a device can take a release: judged from what it said of itself, before anything is changed there."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from deploy.fleet.inventory import Device, RolloutPolicy
from deploy.remote.command import parse_facts
from edge_rnn.contract.units import parse_duration, parse_size

_ARCH = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
_VERSION = re.compile(r"(\d+)\.(\d+)")

QUADLET = (4, 4)
"""The first podman that makes services of quadlets."""

OLDEST_PODMAN = (3, 4)


@dataclass(frozen=True)
class Facts:
    """What a device said of itself. ``free`` in bytes; ``time`` in seconds since 1970; ``broker``: yes, no, unknown."""

    arch: str = ""
    time: float = 0.0
    free: int | None = None
    engine: Literal["podman", "docker"] | None = None
    engine_path: str = ""
    version: tuple[int, int] = (0, 0)
    systemd: int | None = None
    openssl: bool = False
    flock: bool = False
    key: str | None = None
    gpu: str | None = None
    cdi: bool = False
    broker: str | None = None
    image: bool = False
    """Whether the image of the release that was asked for is there."""

    @property
    def quadlet(self) -> bool:
        """Whether services are generated from quadlets there."""
        return self.engine == "podman" and self.version >= QUADLET


def read_facts(text: str) -> Facts:
    """Parse what the preflight's command printed."""
    found = parse_facts(text)
    engine: Literal["podman", "docker"] | None = None
    if "podman" in found:
        engine = "podman"
    elif "docker" in found:
        engine = "docker"
    version = _VERSION.search(found.get(engine or "", ""))
    free, seconds, systemd = found.get("free", ""), found.get("time", ""), found.get("systemd", "")
    return Facts(
        arch=_ARCH.get(found.get("arch", ""), found.get("arch", "")),
        time=float(seconds) if seconds.isdigit() else 0.0,
        free=int(free) * 1024 if free.isdigit() else None,
        engine=engine,
        engine_path=found.get(f"{engine}.path", ""),
        version=(int(version[1]), int(version[2])) if version else (0, 0),
        systemd=int(systemd) if systemd.isdigit() else None,
        openssl=found.get("openssl") == "yes",
        flock=found.get("flock") == "yes",
        key=found.get("key"),
        gpu=found.get("gpu"),
        cdi=found.get("cdi") == "yes",
        broker=found.get("broker"),
        image=found.get(f"{engine}.image") == "yes",
    )


def problems(
    device: Device, facts: Facts, policy: RolloutPolicy, *, now: float, need_bytes: int, key: str | None
) -> list[str]:
    """Why this device cannot take the release; empty: it can.

    ``now`` is the operator's clock; ``need_bytes`` what is to be pulled, unpacked; ``key`` the sha256
    of the inventory's public key.
    """
    found: list[str] = []
    if facts.arch != device.arch:
        found.append(f"the architecture is {facts.arch or 'unknown'}, the inventory says {device.arch}")
    floor = max(parse_size(policy.min_free, "rollout.min-free"), need_bytes)
    if facts.free is None:
        found.append(f"the free space under {device.root} cannot be told")
    elif facts.free < floor:
        found.append(
            f"{facts.free / 1e9:.2f} GB free under {device.root}, {floor / 1e9:.2f} GB needed; prune or clean up"
        )
    skew = abs(facts.time - now)
    if skew > parse_duration(policy.max_clock_skew, "rollout.max-clock-skew"):
        found.append(f"the clock is {skew:.0f} s off, at most {policy.max_clock_skew}; set it (records carry times)")
    if facts.engine is None:
        found.append("neither podman nor docker is installed")
    elif facts.engine == "podman" and facts.version < OLDEST_PODMAN:
        found.append(f"podman is {facts.version[0]}.{facts.version[1]}, expected 3.4 or newer")
    if facts.systemd is None:
        found.append("systemd does not run there; it is what starts the daemon after a power cut")
    if not facts.flock:
        found.append("flock is not installed (util-linux); changes take turns by it")
    if device.accelerator not in ("cpu", facts.gpu):
        found.append(f"the inventory says {device.accelerator}, the device shows {facts.gpu or 'no GPU'}")
    found += _key_problems(facts, key)
    if facts.broker == "no":
        found.append("no broker of run.broker can be reached from the device")
    return found


def _key_problems(facts: Facts, key: str | None) -> list[str]:
    if facts.key is not None and key is None:
        return ["the device takes signed releases only; name its key in app.key and sign the release"]
    if facts.key is not None and facts.key != key:
        return ["the device trusts another key than app.key; replace it there by hand"]
    if key is not None and not facts.openssl:
        return ["openssl is not installed; the device needs it to check signatures"]
    return []


def brokers_of(run: dict[str, object]) -> Sequence[str]:
    """The brokers that a device must reach: ``HOST:PORT``; none for the embedded one."""
    broker = str(run.get("broker", "localhost:9092"))
    return () if broker.startswith("sqlite:") else tuple(one.strip() for one in broker.split(","))
