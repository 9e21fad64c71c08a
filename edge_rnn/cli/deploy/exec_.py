"""``edge-rnn deploy exec``: a command in the daemons' containers."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from edge_rnn.cli.deploy.fleet import INVENTORY, FleetFile, To, open_site
from edge_rnn.contract.errors import DeviceFailed, RolloutFailed

CONTEXT = {"ignore_unknown_options": True}


def command(
    words: Annotated[list[str], typer.Argument(help="The command and its words.", show_default=False)],
    fleet: FleetFile = INVENTORY,
    to: To = None,
) -> None:
    """Run a command in the container that serves, on each device; its words are taken as they are.

    Example: edge-rnn deploy exec --fleet fleet.toml --to north-1 -- python3 -m edge_rnn.cli doctor
    """
    from deploy.remote.command import Result
    from deploy.remote.looking import run_inside
    from deploy.rollout.fleetwide import everywhere
    from deploy.rollout.steps import Steps

    with open_site(fleet, to, quiet=True) as (site, devices):

        def run(device: object) -> Result:
            steps = Steps(site, device)  # type: ignore[arg-type]
            active = steps.look().active
            if active is None:
                raise DeviceFailed(f"{steps.device.name} serves nothing")
            container = site.layout(steps.device).unit(active)
            return site.executor.run(steps.device, run_inside(steps.engine, container, words))

        answers = everywhere(devices, site.fleet.rollout.parallel, run)
    failed = 0
    for answer in answers:
        result = answer.value
        failed += result is None or result.status != 0
        if result is None:
            print(f"edge-rnn: {answer.error}", file=sys.stderr)
            continue
        for line in result.text.splitlines():
            print(f"{answer.device.name}: {line}")
        for line in result.stderr.decode(errors="replace").splitlines():
            print(f"{answer.device.name}: {line}", file=sys.stderr)
        if result.status:
            print(f"edge-rnn: {answer.device.name}: it ended with status {result.status}", file=sys.stderr)
    if failed:
        raise RolloutFailed(f"{failed} of {len(answers)} devices did not end with status 0")
