"""``edge-rnn deploy pending``: devices that were away get their turn."""

from __future__ import annotations

import os
import time
from typing import Annotated

import typer

from edge_rnn.cli.deploy.fleet import INVENTORY, FleetFile, To, finish, key_path, open_site
from edge_rnn.contract.errors import UsageError
from edge_rnn.contract.units import parse_duration

EVERY_S = 30.0


def command(
    fleet: FleetFile = INVENTORY,
    to: To = None,
    watch: Annotated[str | None, typer.Option(help="Keep trying for so long, such as 12h.")] = None,
    list_: Annotated[bool, typer.Option("--list", help="Only list who waits.")] = False,
) -> None:
    """Give every device that was away its turn: the release, or the way back.

    Example: edge-rnn deploy pending --fleet fleet.toml --watch 12h
    """
    from deploy.release.ship import load_shipment
    from deploy.rollout.catch_up import catch_up, pending

    end = time.monotonic() + (parse_duration(watch, "--watch") if watch else 0.0)
    with open_site(fleet, to) as (site, devices):
        if list_:
            for device in pending(site, devices):
                print(f"{device.name}: {site.journal.wanted[device.name].why}")
            return
        path = site.journal.release_path
        if path is None:
            raise UsageError("nothing was rolled out from here; deploy up comes first")
        shipment = load_shipment(path, site.fleet, devices, key_path(site.fleet, fleet), os.environ)
        with site.journal.held():
            while True:
                outcomes = catch_up(site, shipment, devices)
                if not pending(site, devices) or time.monotonic() >= end:
                    break
                time.sleep(min(EVERY_S, max(0.0, end - time.monotonic())))
    finish(outcomes, good=frozenset({"served", "unchanged", "reverted"}))
