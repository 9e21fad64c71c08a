"""``edge-rnn deploy unlock``: the lock of somebody who died."""

from __future__ import annotations

from edge_rnn.cli.deploy.fleet import INVENTORY, FleetFile, To, complain, open_site


def command(fleet: FleetFile = INVENTORY, to: To = None) -> None:
    """Take devices from an operator whose deploy died; says whose it was. The audit keeps it.

    Example: edge-rnn deploy unlock --fleet fleet.toml --to north-1
    """
    from deploy.remote.change import break_lock
    from deploy.remote.executor import checked
    from deploy.rollout.fleetwide import everywhere

    with open_site(fleet, to, quiet=True) as (site, devices), site.journal.held():
        answers = everywhere(
            devices,
            site.fleet.rollout.parallel,
            lambda device: checked(site.executor, device, break_lock(site.change(device))).text.strip(),
        )
    for answer in answers:
        if answer.error is None:
            print(f"{answer.device.name}: {answer.value or 'was not locked'}")
    complain(answers)
