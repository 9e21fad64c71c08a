"""Back to the release before, on a whole fleet or a part of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from deploy.fleet.inventory import Device
from deploy.rollout.catch_up import go_to
from deploy.rollout.fleetwide import everywhere
from deploy.rollout.journal import Wanted
from deploy.rollout.observed import Observed
from deploy.rollout.outcome import Outcome
from deploy.rollout.site import Site
from deploy.rollout.steps import Steps
from edge_rnn.contract.errors import DeviceUnreachable, UsageError


def roll_back(site: Site, devices: Sequence[Device]) -> list[Outcome]:
    """Every device serves again what its other slot holds. Within `Journal.held`.

    A device that is away is to run, when it is back, what most of the others went back to. Raises
    `UsageError` when no device has a release to go back to.
    """
    parallel = site.fleet.rollout.parallel

    def look(device: Device) -> Observed:
        return Steps(site, device).look()

    seen = everywhere(devices, parallel, look)
    targets = {answer.device.name: answer.value.before for answer in seen if answer.value and answer.value.before}
    if not targets:
        raise UsageError("no device holds a release from before; there is nothing to roll back to")
    usual, _ = Counter(targets.values()).most_common(1)[0]
    outcomes: dict[str, Outcome] = {}
    for answer in seen:
        name = answer.device.name
        if isinstance(answer.error, DeviceUnreachable):
            site.journal.want({name: Wanted(release=usual, pending=True, why=str(answer.error))})
            outcomes[name] = Outcome(name, "pending", str(answer.error))
        elif name not in targets:
            reason = str(answer.error) if answer.error else f"{name} holds no release from before"
            outcomes[name] = Outcome(name, "blocked", reason)
    able = [device for device in devices if device.name in targets]
    for done in everywhere(able, parallel, lambda device: go_to(site, device, targets[device.name])):
        outcomes[done.device.name] = done.value or Outcome(done.device.name, "stuck", str(done.error))
    return [outcomes[device.name] for device in devices]
