"""``edge-rnn deploy rollback``: back to the release before."""

from __future__ import annotations

from edge_rnn.cli.deploy.fleet import INVENTORY, FleetFile, To, finish, open_site


def command(fleet: FleetFile = INVENTORY, to: To = None) -> None:
    """Let devices serve again what they served before; its states are still there.

    Example: edge-rnn deploy rollback --fleet fleet.toml --to site=north
    """
    from deploy.rollout.back import roll_back

    with open_site(fleet, to) as (site, devices), site.journal.held():
        outcomes = roll_back(site, devices)
    finish(outcomes, good=frozenset({"reverted"}))
