"""What a device runs, as it says itself."""

from __future__ import annotations

from dataclasses import dataclass, field

from deploy.remote.command import parse_facts
from deploy.remote.layout import SLOTS, Slot, other


@dataclass(frozen=True)
class SlotState:
    """One slot. ``unit``: what systemd says of its service; ``shadow``: it was started as one; ``served``: it has
    served, and was not left for being bad."""

    release: str = ""
    image: str = ""
    unit: str = ""
    shadow: bool = False
    served: bool = False

    @property
    def running(self) -> bool:
        """Whether its service is up or on its way."""
        return self.unit in ("active", "activating", "reloading")


@dataclass(frozen=True)
class Observed:
    """Both slots and the one that serves. ``ready``: the first line that ``/readyz`` gave, ``none`` without an answer."""

    active: Slot | None = None
    slots: dict[Slot, SlotState] = field(default_factory=dict)
    ready: str = ""
    lock: str = ""
    free: int | None = None
    last: str = ""

    @property
    def serving(self) -> SlotState | None:
        """The slot that serves."""
        return None if self.active is None else self.slots[self.active]

    @property
    def release(self) -> str:
        """The release that serves; empty: none."""
        return self.serving.release if self.serving else ""

    @property
    def before(self) -> str:
        """The release that served before and is still there: where a roll-back goes."""
        if self.active is None or not self.slots[other(self.active)].served:
            return ""
        return self.slots[other(self.active)].release

    @property
    def free_slot(self) -> Slot:
        """The slot that a new release goes to."""
        return "a" if self.active is None else other(self.active)

    @property
    def is_ready(self) -> bool:
        """Whether the daemon that serves says that it does."""
        return self.ready == "200"


def read_observed(text: str) -> Observed:
    """Parse what the status command printed."""
    facts = parse_facts(text)
    slots: dict[Slot, SlotState] = {}
    for slot in SLOTS:
        slots[slot] = SlotState(
            release=facts.get(f"slot.{slot}.release", ""),
            image=facts.get(f"slot.{slot}.image", ""),
            unit=facts.get(f"slot.{slot}.unit", ""),
            shadow=facts.get(f"slot.{slot}.shadow") == "yes",
            served=facts.get(f"slot.{slot}.served") == "yes",
        )
    name = facts.get("active", "").removeprefix("slots/")
    active: Slot | None = "a" if name == "a" else "b" if name == "b" else None
    free = facts.get("free", "")
    return Observed(
        active=active,
        slots=slots,
        ready=facts.get("ready", ""),
        lock=facts.get("lock", ""),
        free=int(free) * 1024 if free.isdigit() else None,
        last=facts.get("last", ""),
    )
