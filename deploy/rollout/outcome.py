"""What became of each device, and whether a wave passes. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from deploy.fleet.selection import count_of

State = Literal["served", "unchanged", "pending", "blocked", "failed", "lost", "reverted", "stuck", "not-reached"]
"""``served``: runs the release and is healthy. ``pending``: has not been touched, gets its turn when it is back.
``blocked``: its preflight says no. ``failed``: a gate or a command failed, before traffic moved: it runs what it ran.
``lost``: went out of sight while traffic moved. ``reverted``: went back. ``stuck``: could not go back.
``not-reached``: its wave never came."""

GOOD: frozenset[State] = frozenset({"served", "unchanged"})


@dataclass(frozen=True)
class Outcome:
    """What became of one device. ``moved``: traffic had begun to move, so there is something to take back."""

    device: str
    state: State
    reason: str = ""
    moved: bool = False
    before: str = ""
    """The release that it served before."""


@dataclass(frozen=True)
class WaveReport:
    """One wave: its devices' outcomes and why it did not pass, if so."""

    number: int
    outcomes: tuple[Outcome, ...]
    problem: str = ""


@dataclass(frozen=True)
class Report:
    """A whole rollout."""

    rollout: str
    release: str
    outcomes: Mapping[str, Outcome]
    waves: Sequence[WaveReport] = field(default_factory=tuple)
    problem: str = ""

    def count(self, *states: State) -> int:
        """Devices that ended in one of these states."""
        return sum(outcome.state in states for outcome in self.outcomes.values())


def judge_wave(outcomes: Iterable[Outcome], lost_share: str) -> str:
    """Why a wave does not pass; empty: it does.

    A device that fails a gate fails its wave. Devices that drop out of sight after traffic moved are
    borne up to ``lost_share`` of the wave, rounded down: a canary of one bears none. Devices that were
    away before anything was done to them (``pending``) count for nothing.
    """
    all_ = list(outcomes)
    failed = [outcome for outcome in all_ if outcome.state in ("failed", "stuck")]
    if failed:
        return f"{len(failed)} of {len(all_)} devices failed; {failed[0].reason}"
    lost = [outcome for outcome in all_ if outcome.state == "lost"]
    tried = [outcome for outcome in all_ if outcome.state != "pending"]
    if len(lost) > _borne(lost_share, len(tried)):
        return f"{len(lost)} of {len(tried)} devices were lost while traffic moved; {lost[0].reason}"
    return ""


def _borne(share: str, of: int) -> int:
    """Devices of a share, rounded down, or a number of them."""
    if not of:
        return 0
    if share.strip().endswith("%"):
        count_of(share, of, "rollout.lost")
        return math.floor(of * float(share.strip().rstrip("%")) / 100)
    return count_of(share, of, "rollout.lost", at_least=0)
