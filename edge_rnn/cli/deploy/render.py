"""``edge-rnn deploy render``: the same daemon for other orchestrators."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge_rnn.cli.deploy.fleet import INVENTORY, FleetFile
from edge_rnn.contract.errors import UsageError

KINDS = ("kubernetes", "compose", "systemd", "grafana", "prometheus")


def command(
    what: Annotated[str, typer.Argument(help=", ".join(KINDS))],
    release: Annotated[Path | None, typer.Argument(help="What deploy push wrote (not for the last two).")] = None,
    fleet: FleetFile = INVENTORY,
    replicas: Annotated[int, typer.Option(min=1, help="Members of the group (kubernetes).")] = 2,
) -> None:
    """Print manifests for Kubernetes, Compose or systemd, a Grafana dashboard or Prometheus alerts.

    Example: edge-rnn deploy render kubernetes out --fleet fleet.toml > activity.yaml
    """
    from deploy.fleet.inventory import load_inventory
    from deploy.release.release import load_release
    from deploy.render.compose import compose
    from deploy.render.grafana import dashboard
    from deploy.render.kubernetes import manifests
    from deploy.render.prometheus import alerts
    from deploy.render.systemd import units

    if what not in KINDS:
        raise UsageError(f"render {what!r} is unknown, expected {', '.join(KINDS)}")
    if what == "grafana":
        print(dashboard(), end="")
        return
    if what == "prometheus":
        print(alerts(), end="")
        return
    if release is None:
        raise UsageError(f"render {what} needs a release; give what edge-rnn deploy push wrote")
    inventory, found = load_inventory(fleet), load_release(release)[0]
    if what == "kubernetes":
        print(manifests(inventory, found, replicas), end="")
    elif what == "compose":
        print(compose(inventory, found), end="")
    else:
        print(units(inventory, found), end="")
