"""``edge-rnn deploy prune``: old images and bundles off the devices."""

from __future__ import annotations

from edge_rnn.cli.deploy.fleet import INVENTORY, FleetFile, To, complain, open_site


def command(fleet: FleetFile = INVENTORY, to: To = None) -> None:
    """Remove from devices the images and bundles that neither of their two releases needs.

    Example: edge-rnn deploy prune --fleet fleet.toml
    """
    from deploy.remote.executor import checked
    from deploy.remote.looking import prune
    from deploy.rollout.fleetwide import everywhere
    from deploy.rollout.steps import Steps

    with open_site(fleet, to, quiet=True) as (site, devices), site.journal.held():

        def run(device: object) -> list[str]:
            steps = Steps(site, device)  # type: ignore[arg-type]
            steps.lock()
            try:
                repository = site.app.repository or ""
                command = prune(site.change(steps.device), steps.engine, repository, [])
                return checked(site.executor, steps.device, command).text.splitlines()
            finally:
                steps.unlock()

        answers = everywhere(devices, site.fleet.rollout.parallel, run)
    for answer in answers:
        for line in answer.value or []:
            print(f"{answer.device.name}: removed {line}")
    complain(answers)
