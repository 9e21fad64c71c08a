"""A group seen from outside, by an operator: who is in it, what it has committed, and a change while nobody is."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from edge_rnn.contract.errors import StateError
from runtime.core.batch import Outgoing
from runtime.transports.connect import open_broker
from runtime.transports.protocol import Broker, Client, Position


@dataclass(frozen=True, slots=True)
class Rewrite:
    """Records for the state topic and input positions that become visible together.

    ``was`` holds the positions that the change was thought out for, of the same partitions as ``positions``.
    """

    group: str
    input: str
    state_topic: str
    records: Outgoing
    was: Mapping[int, Position]
    positions: Mapping[int, Position]


class Groups(Protocol):
    """What an operator may ask of the groups of a broker."""

    def positions(self, group: str) -> dict[str, dict[int, Position]]:
        """What a group has committed, by topic and partition; empty for a group that never has."""

    def members(self, group: str) -> list[str]:
        """Who is in a group, by instance and host (embedded store: by process).

        On Kafka a static member that was stopped counts until its session has timed out.
        """

    def rewrite(self, change: Rewrite) -> None:
        """Make a change, all or nothing. Raises `StateError` where the group has members or has moved on.

        A member that joins meanwhile reads what it begins with only after the change has been made or dropped.
        """

    def close(self) -> None:
        """Free the connections."""


def open_groups(
    url: str, client: Client, startup_timeout_s: float = 20.0, properties: Mapping[str, object] | None = None
) -> tuple[Groups, Broker]:
    """The groups and the topics at ``url``. Raises as `open_broker`."""
    broker = open_broker(url, client, startup_timeout_s, properties)
    groups: Any
    if url.startswith("sqlite:"):
        from runtime.transports.sqlite import store_path
        from runtime.transports.sqlite_groups import SqliteGroups

        groups = SqliteGroups(store_path(url), wait_s=startup_timeout_s)
    else:
        name = "Confluent" if client == "confluent" else "KafkaPython"
        module = importlib.import_module(f"runtime.transports.{client.replace('-', '_')}_groups")
        groups = getattr(module, f"{name}Groups")(url, startup_timeout_s, properties or {})
    return groups, broker


def refuse_members(group: str, members: list[str]) -> None:
    """Raise `StateError` naming the members, if there are any."""
    if members:
        more = f" and {len(members) - 3} more" if len(members) > 3 else ""
        raise StateError(
            f"group {group!r} is run by {', '.join(members[:3])}{more}: it would write again what is dropped; stop it"
            " first (on Kafka one that was stopped without --leave counts until its session has timed out; --wait 1m"
            " waits for that)"
        )


def refuse_moved(change: Rewrite, now: Mapping[int, Position]) -> None:
    """Raise `StateError` where the group has committed anything since the change was thought out."""
    for partition, position in change.was.items():
        if now.get(partition) != position:
            raise StateError(
                f"group {change.group!r} went on meanwhile: partition {partition} of {change.input!r} was committed"
                f" at {position.offset} and now is at {now[partition].offset if partition in now else 'nothing'};"
                " stop it and try again"
            )
