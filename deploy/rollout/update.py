"""A release onto one device and, where it must be, back. Every failure ends in an `Outcome`, never in an exception."""

from __future__ import annotations

from typing import Any

from deploy.fleet.inventory import Device
from deploy.remote.layout import Slot, other
from deploy.rollout.observed import Observed
from deploy.rollout.outcome import Outcome, State
from deploy.rollout.preflight import Facts
from deploy.rollout.site import Shipment, Site
from deploy.rollout.steps import Steps
from edge_rnn.contract.errors import DeviceLocked, DeviceUnreachable, EdgeRnnError


class DeviceUpdate:
    """The way of one device through a wave. One thread at a time."""

    def __init__(self, site: Site, shipment: Shipment, device: Device, facts: Facts) -> None:
        self.site = site
        self.shipment = shipment
        self.device = device
        self._steps = Steps(site, device, facts)
        self._slot: Slot | None = None
        self._first = False
        self._moved = False
        self._before = ""

    def run(self) -> Outcome:
        """Lock, settle, deliver, prove, move traffic, wait until it serves."""
        try:
            self._steps.lock()
            observed = self._settled()
            self._before = observed.release
            if observed.release == self.shipment.id and observed.active is not None:
                self._slot = observed.active
                self._steps.wait_ready(observed.active)
                return self._tell("unchanged")
            self._slot = observed.free_slot
            self._first = observed.active is None
            self._say("delivering")
            self._steps.deliver(self.shipment, self._slot)
            self._say("golden vectors")
            self._steps.golden(self.shipment)
            self._move(self._slot)
            return self._tell("served")
        except DeviceUnreachable as error:
            return self._tell("lost" if self._moved else "pending", error)
        except DeviceLocked as error:
            return self._tell("blocked", error)
        except EdgeRnnError as error:
            return self._failed(error)

    def _settled(self) -> Observed:
        """What runs there, once whatever was left half done is cleared."""
        observed = self._steps.look()
        if observed.active is None and not any(slot.running or slot.shadow for slot in observed.slots.values()):
            return observed
        self._steps.settle()
        return self._steps.look()

    def _move(self, slot: Slot) -> None:
        """As the policy says; where nothing serves, or the broker is in a file, there is nothing to shadow.

        A shadow is one process, so it cannot take the place of several workers.
        """
        strategy = "replace" if self._first or self._embedded else self.site.fleet.rollout.strategy
        if strategy == "promote" and int(self._run.get("workers", 1)) > 1:
            strategy = "swap"
        if strategy != "replace" and not self._steps.serves(other(slot)):
            strategy = "replace"
            self._say("replacing", "the daemon in place is not ready, so there is nothing to compare a shadow with")
        if strategy != "replace":
            self._say("shadowing")
            self._steps.shadow(slot, self.shipment.id)
        self._moved = True
        began = self.site.clock.now()
        if strategy == "promote":
            self._say("promoting")
            self._steps.promote(slot, self.shipment.id)
        else:
            self._say("starting" if self._first else "swapping")
            self._steps.swap(slot, self.shipment.id, first=self._first)
        self._steps.wait_ready(slot)
        if not self._first:
            self._say("live", f"records waited for {self.site.clock.now() - began:.2f} s at most")

    @property
    def _run(self) -> dict[str, Any]:
        """The daemon's settings that the inventory gives for this device."""
        return {**self.site.app.run, **self.device.run}

    @property
    def _embedded(self) -> bool:
        """Whether the broker is in a file, which one daemon opens at a time: no shadow beside it."""
        return str(self._run.get("broker", "")).startswith("sqlite:")

    def check(self, *, last: bool) -> Outcome | None:
        """Look at a device that took over; ``None``: it is well."""
        try:
            if self._slot is not None:
                self._steps.check_health(self._slot, last=last)
        except DeviceUnreachable as error:
            return self._tell("lost", error)
        except EdgeRnnError as error:
            return self._tell("failed", error)
        return None

    def revert(self, why: str) -> Outcome:
        """Back to what served before; a device where nothing served before stops serving."""
        try:
            self._steps.settle()  # what was given up may still be at work there
            observed = self._steps.look()
            if observed.release == self._before and observed.active is not None:
                self._steps.wait_ready(observed.active)
            elif observed.active is not None and self._before and observed.before == self._before:
                self._steps.go_back(other(observed.active), self._before)
            elif not self._before:
                self._steps.withdraw()
            else:
                return self._tell("stuck", f"there is nothing to go back to; {why}")
        except DeviceUnreachable as error:
            return self._tell("lost", error)
        except EdgeRnnError as error:
            return self._tell("stuck", error)
        return self._tell("reverted", why)

    def _failed(self, error: EdgeRnnError) -> Outcome:
        """A gate or a command failed: what was started beside the daemon in place is ended."""
        if not self._moved and self._slot is not None and not self._first:
            try:
                self._steps.stop_shadow(self._slot, self.shipment.id)
            except EdgeRnnError as second:
                return self._tell("failed", f"{error}; and then: {second}")
        return self._tell("failed", error)

    def release_lock(self) -> None:
        """Give the device back, if it can be reached."""
        try:
            self._steps.unlock()
        except EdgeRnnError as error:
            self._say("lock stays", str(error))

    def _tell(self, state: State, reason: object = "") -> Outcome:
        self._say(state, str(reason))
        return Outcome(self.device.name, state, str(reason), self._moved, self._before)

    def _say(self, event: str, detail: str = "") -> None:
        self.site.say(event, self.device.name, self.shipment.id, detail)
