"""Which faults, when and on whom: drawn from the seed before anything runs."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

Transport = Literal["confluent", "kafka-python", "sqlite"]

FAIL_POINTS = ("polled", "applied", "sent", "snapshots-sent", "before-commit", "committed", "restored", "revoked")
"""Named steps at which a daemon kills itself when ``EDGE_RNN_FAIL_POINT=NAME:COUNT`` says so."""

SESSION_S = 6.0
"""Session time-out of the members, the least that a broker's default allows."""

KINDS = {
    "kill": "SIGKILL one member at a random moment, start it again",
    "kill-all": "SIGKILL all members at once",
    "fail-point": "a member kills itself at a named step of the commit protocol",
    "pause": "SIGSTOP for less than the session, SIGCONT",
    "zombie": "SIGSTOP past the session until another has taken over, SIGCONT",
    "restart": "SIGTERM one member, start it again",
    "rolling": "SIGTERM and start every member in turn",
    "join-leave": "one more member comes, serves, and leaves with --leave",
    "join-kill": "one more member comes, serves, and is killed for good",
    "broker-stop": "the broker shuts down in good order and comes back",
    "broker-kill": "SIGKILL the broker, start it on the same data",
    "outage-kill": "SIGKILL the broker and a member within the outage, start both",
    "node-stop": "one of three nodes shuts down, its partitions get other leaders, it comes back",
    "node-kill": "SIGKILL one of three nodes, start it on the same data",
    "cut": "a member's network is cut for less than the session",
    "cut-long": "a member's network is cut past the session, another takes over",
    "node-cut": "a node's network is cut while its process lives on",
    "store-full": "the embedded store reaches its size limit; it is raised again",
    "disk-full": "the disk under the embedded store is full; it gets room again",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. ``hold_s``: how long it lasts; ``settle``: wait until all partitions give outputs before the next."""

    kind: str
    member: int
    node: int
    point: str
    count: int
    hold_s: float
    gentle: bool
    settle: bool
    pause_s: float


def deck(transport: Transport, nodes: int, *, network: bool, disk: bool, quick: int = 1) -> list[str]:
    """The kinds that this place can have, as often as they are to come: the quick ones ``quick`` times as often."""
    common = (["kill"] * 3 + ["pause", "restart"]) * quick
    if transport == "sqlite":
        points = [f"fail-point:{name}" for name in FAIL_POINTS if name != "revoked"] * quick
        return [*common, *points, "store-full", *(["disk-full"] if disk else [])]
    points = [f"fail-point:{name}" for name in FAIL_POINTS] * quick
    broker = ["broker-stop", "broker-kill", "outage-kill"] if nodes == 1 else ["node-stop", "node-kill", "node-kill"]
    cuts = ["cut", "cut-long", *(["node-cut"] if nodes > 1 else [])] if network else []
    return [*common, *points, "kill-all", "zombie", "rolling", "join-leave", "join-kill", *broker, *cuts]


def draw(seed: int, faults: int, kinds: list[str], members: int, nodes: int) -> list[Fault]:
    """The faults of a run. Every kind of the deck comes before one comes again, in an order of the seed's."""
    rng = random.Random(seed)
    drawn: list[Fault] = []
    left: list[str] = []
    for _ in range(faults):
        if not left:
            left = rng.sample(kinds, len(kinds))
        kind, _, point = left.pop().partition(":")
        long = kind in {"zombie", "cut-long", "store-full", "disk-full", "node-cut"}
        drawn.append(
            Fault(
                kind=kind,
                member=rng.randrange(members),
                node=rng.randrange(nodes),
                point=point,
                count=1 if point in {"restored", "revoked"} else rng.randint(1, 12),
                hold_s=_hold_s(rng, kind, long),
                gentle=rng.random() < 0.5,
                settle=rng.random() < 0.7,
                pause_s=rng.uniform(0.0, 1.2),
            )
        )
    return drawn


def _hold_s(rng: random.Random, kind: str, long: bool) -> float:
    if kind in {"store-full", "disk-full"}:
        return rng.choice([1.0, 2.0, 12.0])
    if long:
        return SESSION_S + rng.uniform(1.5, 8.0)
    if kind.startswith(("broker-", "node-")) and rng.random() < 0.25:  # longer than a transaction may take
        return rng.uniform(10.0, 14.0)
    return rng.uniform(0.2, 2.5)
