"""The topics of a Kafka member: which must be there, which are made, and what the state topic must be like."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import NamedTuple, Protocol

from edge_rnn.contract.errors import TopicError
from runtime.transports.names import (
    NEW_INPUT_PARTITIONS,
    check_topic_name,
    missing_topic,
    other_partitions,
    partitions_added,
)
from runtime.transports.protocol import UNKNOWN_IDS, MemberSettings, TopicIds

log = logging.getLogger("edge_rnn.transport")

STATE_SEGMENT_BYTES = 64 << 20
ANSWER_S = 20.0
STATE_CONFIG = {"cleanup.policy": "compact", "segment.bytes": str(STATE_SEGMENT_BYTES)}


class TopicAdmin(Protocol):
    """What a client must offer for its topics to be prepared."""

    def partitions(self) -> dict[str, int]:
        """Number of partitions of every topic that the broker tells of."""

    def create(self, name: str, partitions: int, config: Mapping[str, str]) -> None:
        """Ask for a topic; one that is there already is no error. Raises `TopicError`."""

    def config(self, name: str) -> dict[str, str]:
        """Every setting of a topic, the broker's defaults included."""

    def grow(self, name: str, partitions: int) -> None:
        """Give a topic so many partitions; one that has them already is no error. Raises `TopicError`."""

    def topic_id(self, name: str) -> str:
        """What tells a topic from a later one of the same name: 32 hexadecimal digits."""


class Counts(NamedTuple):
    """Partitions of the input and of the output topic, and which topics the input and the state topic are."""

    input: int
    output: int
    ids: TopicIds = UNKNOWN_IDS


def prepare_topics(admin: TopicAdmin, settings: MemberSettings) -> Counts:
    """Check the member's topics, making those that may be made. Raises `TopicError`."""
    wanted = [settings.input, settings.output]
    if settings.dead_letter is not None:
        wanted.append(settings.dead_letter)
    found = admin.partitions()
    count = found.get(settings.input, NEW_INPUT_PARTITIONS)
    for name in wanted:
        if name not in found and not settings.create_topics:
            raise missing_topic(name, settings.broker)
        if name not in found:
            create_topic(admin, name, count)
    if settings.replays:
        _check_input_topic(admin, settings.input)
    _check_state_topic(admin, settings, found.get(settings.state_topic), count)
    ids = TopicIds(admin.topic_id(settings.input), admin.topic_id(settings.state_topic))
    return Counts(count, found.get(settings.output, count), ids)


def create_topic(admin: TopicAdmin, name: str, partitions: int, config: Mapping[str, str] | None = None) -> None:
    """Create a topic and wait until the broker tells of it; one with as many partitions is left alone.

    Raises `TopicError`.
    """
    check_topic_name(name)
    found = admin.partitions().get(name)
    if found is None:
        admin.create(name, partitions, config or {})
        deadline = time.monotonic() + ANSWER_S
        while (found := admin.partitions().get(name)) is None:
            if time.monotonic() > deadline:
                raise TopicError(f"topic {name!r} was created, but the broker does not tell of it after {ANSWER_S:g} s")
            time.sleep(0.02)
    if found != partitions:
        raise other_partitions(name, found, partitions)


def _check_input_topic(admin: TopicAdmin, name: str) -> None:
    """A replay needs every record again, and compaction removes those that later ones of their key replace."""
    policy = admin.config(name).get("cleanup.policy", "")
    if "compact" in policy:
        raise TopicError(
            f"topic {name!r} has cleanup.policy={policy}, expected delete: a replay would miss what compaction"
            " removed; set it, or run with --snapshot-interval 0, which never replays"
        )


def _check_state_topic(admin: TopicAdmin, settings: MemberSettings, found: int | None, count: int) -> None:
    name = settings.state_topic
    if found is None:
        create_topic(admin, name, count, STATE_CONFIG)
        return
    if found < count:
        if not settings.follows_growth:
            raise partitions_added(settings.input, count, found)
        log.warning("partitions were added to %r: %r grows from %d to %d", settings.input, name, found, count)
        admin.grow(name, count)
        _await_partitions(admin, name, count)
    elif found > count:
        raise other_partitions(name, found, count)
    config = admin.config(name)
    policy, segment = config.get("cleanup.policy", ""), int(config.get("segment.bytes", "0"))
    if policy != "compact":
        raise TopicError(
            f"topic {name!r} has cleanup.policy={policy}, expected compact, or states are lost; set it, or remove"
            " the topic and begin without state"
        )
    if segment > STATE_SEGMENT_BYTES:
        raise TopicError(
            f"topic {name!r} has segment.bytes={segment}, expected at most {STATE_SEGMENT_BYTES}; "
            "lower it, or snapshots pile up uncompacted"
        )


def _await_partitions(admin: TopicAdmin, name: str, partitions: int) -> None:
    deadline = time.monotonic() + ANSWER_S
    while admin.partitions().get(name) != partitions:
        if time.monotonic() > deadline:
            raise TopicError(f"topic {name!r} was given {partitions} partitions, but the broker does not tell of them")
        time.sleep(0.02)
