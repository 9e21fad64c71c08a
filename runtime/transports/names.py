"""Rules of topic names that hold for every transport, and the one wording of what is wrong with a topic."""

from __future__ import annotations

import re

from edge_rnn.contract.errors import TopicError, UsageError
from runtime.transports.protocol import MemberSettings

NEW_INPUT_PARTITIONS = 4
"""Partitions of an input topic that ``create_topics`` makes; the other topics take the input's number."""

_LEGAL = re.compile(r"[A-Za-z0-9._-]{1,249}")


def check_topic_name(name: str) -> None:
    """Raise `TopicError` unless Kafka would take ``name``."""
    if not _LEGAL.fullmatch(name) or name in {".", ".."}:
        raise TopicError(f"topic name {name!r} is not legal: expected 1 to 249 letters, digits, '.', '_' or '-'")


def check_names(settings: MemberSettings) -> None:
    """Raise `UsageError` where two of a member's topics are one and the same, `TopicError` for an illegal name."""
    roles = {"input": settings.input, "output": settings.output, "state": settings.state_topic}
    if settings.dead_letter is not None:
        roles["dead-letter"] = settings.dead_letter
    seen: dict[str, str] = {}
    for role, name in roles.items():
        check_topic_name(name)
        if name in seen:
            raise UsageError(
                f"topic {name!r} is both the {seen[name]} and the {role} topic; give the {role} topic another name"
            )
        seen[name] = role


def missing_topic(name: str, broker: str) -> TopicError:
    """The error for a topic that is not there."""
    return TopicError(f"no topic {name!r} on {broker}; create it, or run with --create-topics")


def partitions_added(topic: str, count: int, before: int, *, running: bool = False) -> TopicError:
    """The error for an input topic that has more partitions than its states were kept for."""
    when = " while running" if running else ""
    return TopicError(
        f"topic {topic!r} has {count} partitions, its states are kept for {before}: partitions were added{when}, and"
        " keys that moved to another one begin anew there; start with --on-moved-offsets reset to go on so"
    )


def other_partitions(name: str, found: int, expected: int) -> TopicError:
    """The error for a topic whose partitions are not as many as they must be."""
    return TopicError(
        f"topic {name!r} has {found} partitions, expected {expected}; remove it or give it {expected} partitions"
    )
