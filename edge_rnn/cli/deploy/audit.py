"""``edge-rnn deploy audit``: who did what, when, with which release."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from edge_rnn.cli.deploy.fleet import INVENTORY, AsJson, FleetFile, To, complain, open_site, short, table


def command(
    fleet: FleetFile = INVENTORY,
    to: To = None,
    as_json: AsJson = False,
    unfinished: Annotated[
        bool, typer.Option("--unfinished", help="Only what was begun and never ended: where something died.")
    ] = False,
) -> None:
    """Tell what was changed on devices, as written down there: who, what, when, which release.

    Example: edge-rnn deploy audit --fleet fleet.toml --to north-1
    """
    from deploy.remote import audit
    from deploy.remote.executor import checked
    from deploy.remote.looking import read_audit
    from deploy.rollout.fleetwide import everywhere

    with open_site(fleet, to, quiet=True) as (site, devices):
        answers = everywhere(
            devices,
            site.fleet.rollout.parallel,
            lambda device: audit.parse_audit(
                checked(site.executor, device, read_audit(site.layout(device))).text, device.name
            ),
        )
    entries = []
    for answer in answers:
        found = answer.value or []
        entries += audit.unfinished(found) if unfinished else [one for one in found if one.outcome != "begun"]
    entries.sort(key=lambda entry: entry.time)
    if as_json:
        print(msgspec.json.format(msgspec.json.encode(entries), indent=2).decode())
    else:
        rows = [(e.time[:19], e.device, e.what, e.outcome, short(e.release), e.who, e.rollout) for e in entries]
        print(table(("TIME", "DEVICE", "WHAT", "OUTCOME", "RELEASE", "WHO", "ROLLOUT"), rows))
    complain(answers)
