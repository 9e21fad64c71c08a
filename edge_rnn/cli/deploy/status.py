"""``edge-rnn deploy status``: what the fleet runs."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from edge_rnn.cli.deploy.fleet import INVENTORY, AsJson, FleetFile, To, open_site, short, table
from edge_rnn.contract.units import parse_duration


def command(
    fleet: FleetFile = INVENTORY,
    to: To = None,
    as_json: AsJson = False,
    watch: Annotated[str | None, typer.Option(help="Ask again every so often, such as 5s.")] = None,
) -> None:
    """Ask every device what it runs, and whether that is what it is to run.

    Example: edge-rnn deploy status --fleet fleet.toml --to site=north
    """
    from deploy.rollout.status import status

    every_s = None if watch is None else parse_duration(watch, "--watch")
    with open_site(Path(fleet), to, quiet=True) as (site, devices):
        while True:
            rows = status(site, devices)
            if as_json:
                print(msgspec.json.format(msgspec.json.encode(rows), indent=2).decode())
            else:
                if every_s is not None and sys.stdout.isatty():
                    print("\033[2J\033[H", end="")
                cells = [
                    (row.device, row.state, short(row.release), short(row.wanted), short(row.before), row.note[:60])
                    for row in rows
                ]
                print(table(("DEVICE", "STATE", "RELEASE", "WANTED", "BEFORE", "NOTE"), cells))
            if every_s is None:
                return
            time.sleep(every_s)
