"""``edge-rnn deploy up``: a release through the fleet."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Annotated

import typer

from edge_rnn.cli.deploy.fleet import INVENTORY, FleetFile, To, finish, key_path, open_site


def command(
    release: Annotated[Path, typer.Argument(help="What deploy push wrote.", show_default=False)],
    fleet: FleetFile = INVENTORY,
    to: To = None,
    canary: Annotated[
        str | None, typer.Option(help="Size of the first wave: 5% or a number  [the inventory's]")
    ] = None,
    parallel: Annotated[int | None, typer.Option(min=1, help="Devices at once  [the inventory's]")] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Only ask every device whether it can take the release.")
    ] = False,
) -> None:
    """Bring a release to devices: preflight, golden vectors, shadow, promote, health; wave by wave.

    Example: edge-rnn deploy up out --fleet fleet.toml --to site=north --canary 5%

    A wave that fails goes back by itself. A device that is away is pending: deploy pending gives it its
    turn. The same command again goes on where it was left.
    """
    import msgspec

    from deploy.release.ship import load_shipment
    from deploy.rollout.rollout import preflight, roll_out

    with open_site(fleet, to) as (site, devices):
        if parallel is not None:
            policy = msgspec.structs.replace(site.fleet.rollout, parallel=parallel)
            site = dataclasses.replace(site, fleet=msgspec.structs.replace(site.fleet, rollout=policy))
        shipment = load_shipment(release, site.fleet, devices, key_path(site.fleet, fleet), os.environ)
        if check:
            ready = preflight(site, shipment, devices)
            print(f"{len(ready.facts)} of {len(devices)} devices can take {shipment.id}")
            finish(list(ready.outcomes.values()))
            return
        with site.journal.held():
            report = roll_out(site, shipment, devices, canary=canary)
    finish(list(report.outcomes.values()), report.problem)
