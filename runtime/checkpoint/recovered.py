"""What a partition goes on with once it is brought back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Recovered:
    """A partition brought back: read from ``replay_from``, emit from ``offset`` on.

    ``streams`` have their state. ``anew``: this place is not what is committed, so it must be, even
    if no record follows. ``retained`` maps other models' fingerprints (hex), whose snapshots are
    kept, to the offsets that they would replay from. ``newest_ms``: the newest record time committed.
    ``obsolete``: stored keys of states that may not be used any more.
    """

    offset: int
    replay_from: int
    streams: int = 0
    anew: bool = False
    retained: Mapping[str, int] = field(default_factory=dict)
    newest_ms: int | None = None
    obsolete: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Standing:
    """A partition's states as a shadow holds them: all input below ``offset`` applied since ``begun``."""

    offset: int
    begun: Recovered
