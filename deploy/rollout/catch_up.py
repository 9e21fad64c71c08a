"""Devices that were away get their turn: the release, or the way back, whichever they are to run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from deploy.fleet.inventory import Device
from deploy.remote.layout import other
from deploy.rollout.fleetwide import everywhere
from deploy.rollout.journal import Wanted
from deploy.rollout.outcome import Outcome
from deploy.rollout.preflight import Facts
from deploy.rollout.rollout import preflight, run_wave
from deploy.rollout.site import Shipment, Site
from deploy.rollout.steps import Steps
from edge_rnn.contract.errors import DeviceFailed, DeviceUnreachable, EdgeRnnError


def pending(site: Site, devices: Sequence[Device]) -> list[Device]:
    """The devices that wait for their turn."""
    wanted = site.journal.wanted
    return [device for device in devices if device.name in wanted and wanted[device.name].pending]


def catch_up(site: Site, shipment: Shipment, devices: Sequence[Device]) -> list[Outcome]:
    """Try every pending device once, each by itself: its failure takes only itself back. Within `Journal.held`."""
    waiting, wanted = pending(site, devices), site.journal.wanted
    forward = [device for device in waiting if wanted[device.name].release == shipment.id]
    back = [device for device in waiting if wanted[device.name].release != shipment.id]
    ready = preflight(site, shipment, forward)
    able = [device for device in forward if device.name in ready.facts]
    outcomes = list(ready.outcomes.values())
    for answer in everywhere(
        able, site.fleet.rollout.parallel, lambda device: _alone(site, shipment, device, ready.facts)
    ):
        outcomes.append(answer.value or Outcome(answer.device.name, "failed", str(answer.error)))
    for outcome in everywhere(back, site.fleet.rollout.parallel, lambda device: _back(site, device)):
        outcomes.append(outcome.value or Outcome(outcome.device.name, "failed", str(outcome.error)))
    return outcomes


def _alone(site: Site, shipment: Shipment, device: Device, facts: Mapping[str, Facts]) -> Outcome:
    return run_wave(site, shipment, [device], facts, 0).outcomes[0]


def _back(site: Site, device: Device) -> Outcome:
    return go_to(site, device, site.journal.wanted[device.name].release)


def go_to(site: Site, device: Device, release: str) -> Outcome:
    """Let a device serve ``release``, which one of its slots holds; empty: nothing."""
    steps = Steps(site, device)
    before = ""
    try:
        steps.probe()
        steps.lock()
        observed = steps.look()
        before = observed.release
        if not release:
            steps.withdraw()
        elif before == release and observed.active is not None:
            steps.settle()
            steps.wait_ready(observed.active)
        elif observed.active is not None and observed.before == release:
            steps.go_back(other(observed.active), release)
        else:
            raise DeviceFailed(f"{device.name} holds {before or 'nothing'}, not {release}; deploy up brings it")
        steps.unlock()
    except DeviceUnreachable as error:
        site.journal.want({device.name: Wanted(release=release, pending=True, why=str(error))})
        return _told(site, Outcome(device.name, "pending", str(error), before=before), release)
    except EdgeRnnError as error:
        return _told(site, Outcome(device.name, "stuck", str(error), before=before), release)
    site.journal.want({device.name: Wanted(release=release)})
    return _told(site, Outcome(device.name, "reverted", before=before), release)


def _told(site: Site, outcome: Outcome, release: str) -> Outcome:
    site.say(outcome.state, outcome.device, release, outcome.reason)
    return outcome
