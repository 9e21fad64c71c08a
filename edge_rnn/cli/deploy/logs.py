"""``edge-rnn deploy logs``: what the daemons wrote."""

from __future__ import annotations

from typing import Annotated

import typer

from edge_rnn.cli.deploy.fleet import INVENTORY, FleetFile, To, complain, open_site


def command(
    fleet: FleetFile = INVENTORY,
    to: To = None,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="Newest lines of each device.")] = 50,
    since: Annotated[str | None, typer.Option(help="As journalctl takes it, such as '1 hour ago'.")] = None,
) -> None:
    """Print the newest lines of the daemons' logs, each with its device in front.

    Example: edge-rnn deploy logs --fleet fleet.toml --to north-1 --lines 100
    """
    from deploy.remote.executor import checked
    from deploy.remote.looking import read_logs
    from deploy.rollout.fleetwide import everywhere

    with open_site(fleet, to, quiet=True) as (site, devices):
        answers = everywhere(
            devices,
            site.fleet.rollout.parallel,
            lambda device: checked(site.executor, device, read_logs(site.layout(device), lines, since)).text,
        )
    for answer in answers:
        for line in (answer.value or "").splitlines():
            print(f"{answer.device.name}: {line}")
    complain(answers)
