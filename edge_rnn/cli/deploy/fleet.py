"""What the commands of a fleet share: the inventory, who is at work, the connections, the table of devices."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from deploy.fleet.inventory import Device, Fleet, load_inventory
from deploy.fleet.selection import select
from deploy.fleet.settings import resolver
from deploy.remote.audit import whoami
from deploy.remote.ssh import SshExecutor
from deploy.rollout.fleetwide import Answer
from deploy.rollout.journal import Event, Journal, default_folder
from deploy.rollout.outcome import GOOD, Outcome
from deploy.rollout.site import Site
from edge_rnn.contract.errors import RolloutFailed

FleetFile = Annotated[Path, typer.Option("--fleet", help="The inventory.")]
To = Annotated[
    list[str] | None, typer.Option("--to", help="Only devices of this name or label=value; may be repeated.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
INVENTORY = Path("fleet.toml")


@contextmanager
def open_site(
    path: Path, to: Sequence[str] | None, *, quiet: bool = False
) -> Iterator[tuple[Site, tuple[Device, ...]]]:
    """The fleet of an inventory and its chosen devices, with connections that are closed at the end."""
    fleet = load_inventory(path)
    devices = select(fleet, to or [])
    journal = Journal(default_folder(fleet.app.name), None if quiet else say)
    with SshExecutor() as executor:
        yield (
            Site(
                fleet=fleet,
                executor=executor,
                journal=journal,
                resolve=resolver(path.parent),
                who=whoami(),
                rollout=uuid.uuid4().hex[:12],
            ),
            devices,
        )


def say(event: Event) -> None:
    """A line of progress on standard error."""
    where = f"{event.device}: " if event.device else ""
    detail = f" ({event.detail})" if event.detail else ""
    print(f"{event.time[11:19]} {where}{event.event}{detail}", file=sys.stderr, flush=True)


def key_path(fleet: Fleet, inventory: Path) -> Path | None:
    """The fleet's public key, relative to its inventory."""
    return None if fleet.app.key is None else (inventory.parent / fleet.app.key).expanduser()


def short(digest: str) -> str:
    """Enough of a digest for a table."""
    return digest.removeprefix("sha256:")[:12] or "-"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as they need to be."""
    widths = [max(len(str(row[i])) for row in [header, *rows]) for i in range(len(header))]
    lines = ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)) for row in [header, *rows]]
    return "\n".join(line.rstrip() for line in lines)


def finish(outcomes: Sequence[Outcome], problem: str = "", good: frozenset[str] = frozenset(GOOD)) -> None:
    """Print what became of each device. Raises `RolloutFailed` where some are left behind."""
    counts: dict[str, int] = {}
    for outcome in outcomes:
        counts[outcome.state] = counts.get(outcome.state, 0) + 1
    print(", ".join(f"{count} {state}" for state, count in sorted(counts.items())) or "nothing to do")
    if problem:
        raise RolloutFailed(problem)
    bad = [outcome for outcome in outcomes if outcome.state not in good | {"pending"}]
    if bad:
        raise RolloutFailed(f"{len(bad)} of {len(outcomes)} devices are left behind; {bad[0].reason}")


def complain(answers: Sequence[Answer[Any]]) -> None:
    """Say on standard error what went wrong on which device. Raises `RolloutFailed` where anything did."""
    errors = [answer.error for answer in answers if answer.error is not None]
    for error in errors:
        print(f"edge-rnn: {error}", file=sys.stderr)
    if errors:
        raise RolloutFailed(f"{len(errors)} of {len(answers)} devices were left out")
