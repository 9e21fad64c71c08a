"""All that the steps of a rollout need: the fleet, what is shipped, who ships it, and the seams to the world."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from deploy.fleet.inventory import App, Device, Fleet
from deploy.fleet.settings import Resolve
from deploy.release.release import ImageRef, Release
from deploy.release.signing import Signature
from deploy.remote.audit import Entry
from deploy.remote.change import Change
from deploy.remote.executor import Executor
from deploy.remote.layout import Layout, Slot
from deploy.rollout.journal import Event, Journal


class Clock(Protocol):
    """Time, so that tests decide how fast it goes."""

    def now(self) -> float:
        """Seconds since 1970."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> float:
        """Seconds since 1970."""
        return time.time()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


@dataclass(frozen=True)
class Shipment:
    """A release as it goes to devices.

    ``archive`` gives an image as a file, and ``bundle_tar`` the bundle as tar, for devices that are
    served over ssh; ``login`` a registry's login file.
    """

    release: Release
    data: bytes
    id: str
    path: Path
    signature: Signature | None = None
    key_pem: bytes | None = None
    key_digest: str | None = None
    login: bytes = b""
    archive: Callable[[ImageRef], Path] | None = None
    bundle_tar: Callable[[], bytes] | None = None


@dataclass(frozen=True)
class Site:
    """One run of the command against one fleet."""

    fleet: Fleet
    executor: Executor
    journal: Journal
    resolve: Resolve
    who: str
    rollout: str
    clock: Clock = field(default_factory=SystemClock)
    poll_s: float = 0.5

    @property
    def app(self) -> App:
        """What runs on the devices."""
        return self.fleet.app

    def layout(self, device: Device) -> Layout:
        """Where things lie on a device."""
        return Layout(self.app.name, device.root)

    def port(self, device: Device, slot: Slot) -> int:
        """The HTTP port of a slot's daemon."""
        return (device.metrics_port or self.app.metrics_port) + (slot == "b")

    def change(self, device: Device, release: str = "", detail: str = "") -> Change:
        """A change on this device, told in its audit as ours."""
        entry = Entry(
            time=self.stamp(),
            who=self.who,
            what="",
            device=device.name,
            rollout=self.rollout,
            release=release,
            detail=detail,
        )
        return Change(self.layout(device), entry)

    def say(self, event: str, device: str = "", release: str = "", detail: str = "") -> None:
        """Write to the journal."""
        self.journal.say(
            Event(time=self.stamp(), rollout=self.rollout, event=event, device=device, release=release, detail=detail)
        )

    def stamp(self) -> str:
        """Now, as audits and the journal write it."""
        return datetime.fromtimestamp(self.clock.now(), UTC).isoformat(timespec="milliseconds")
