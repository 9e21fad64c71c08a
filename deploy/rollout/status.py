"""What the fleet runs: what each device says of itself, beside what it is to run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from deploy.fleet.inventory import Device
from deploy.remote.layout import other
from deploy.rollout.fleetwide import everywhere
from deploy.rollout.journal import Wanted
from deploy.rollout.observed import Observed
from deploy.rollout.site import Site
from deploy.rollout.steps import Steps
from edge_rnn.contract.errors import EdgeRnnError

Word = Literal["ok", "not-ready", "shadowing", "differs", "empty", "pending", "unreachable"]
"""``differs``: it serves another release than it is to. ``pending``: away, and its turn is still to come."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One device. ``release``: what serves; ``wanted``: what is to serve; ``before``: where a roll-back goes."""

    device: str
    state: Word
    release: str = ""
    wanted: str = ""
    before: str = ""
    unit: str = ""
    ready: bool = False
    shadow: str = ""
    lock: str = ""
    free_bytes: int | None = None
    note: str = ""


def status(site: Site, devices: Sequence[Device]) -> list[Row]:
    """Ask every device at once; rows in the devices' order."""

    def look(device: Device) -> Observed:
        return Steps(site, device).look()

    wanted = site.journal.wanted
    answers = everywhere(devices, site.fleet.rollout.parallel, look)
    return [row_of(answer.device.name, answer.value, answer.error, wanted) for answer in answers]


def row_of(name: str, observed: Observed | None, error: EdgeRnnError | None, wanted: Mapping[str, Wanted]) -> Row:
    """A device's row from what it said, or from why it did not."""
    want = wanted.get(name, Wanted(release=""))
    if observed is None:
        state: Word = "pending" if want.pending else "unreachable"
        return Row(device=name, state=state, wanted=want.release, note=str(error))
    beside = None if observed.active is None else observed.slots[other(observed.active)]
    if observed.active is None:
        state = "empty"
    elif want.release and observed.release != want.release:
        state = "differs"
    elif not observed.is_ready:
        state = "not-ready"
    elif beside is not None and beside.shadow and beside.running:
        state = "shadowing"
    else:
        state = "ok"
    return Row(
        device=name,
        state=state,
        release=observed.release,
        wanted=want.release,
        before=observed.before,
        unit=observed.serving.unit if observed.serving else "",
        ready=observed.is_ready,
        shadow=beside.release if beside is not None and beside.shadow else "",
        lock=observed.lock,
        free_bytes=observed.free,
        note="its turn is still to come" if want.pending else "",
    )
