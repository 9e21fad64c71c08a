"""The topics of a Kafka member: which must be there, which are made, and what the state topic must be like."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import NamedTuple, Protocol

from edge_rnn.contract.errors import TopicError
from runtime.transports.names import NEW_INPUT_PARTITIONS, check_topic_name, missing_topic, other_partitions
from runtime.transports.protocol import MemberSettings

STATE_SEGMENT_BYTES = 64 << 20
STATE_CONFIG = {"cleanup.policy": "compact", "segment.bytes": str(STATE_SEGMENT_BYTES)}


class TopicAdmin(Protocol):
    """What a client must offer for its topics to be prepared."""

    def partitions(self) -> dict[str, int]:
        """Number of partitions of every topic that the broker tells of."""

    def create(self, name: str, partitions: int, config: Mapping[str, str]) -> None:
        """Ask for a topic; one that is there already is no error. Raises `TopicError`."""

    def config(self, name: str) -> dict[str, str]:
        """Every setting of a topic, the broker's defaults included."""


class Counts(NamedTuple):
    """Partitions of the input and of the output topic."""

    input: int
    output: int


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
    _check_state_topic(admin, settings.state_topic, found.get(settings.state_topic), count)
    return Counts(count, found.get(settings.output, count))


def create_topic(admin: TopicAdmin, name: str, partitions: int, config: Mapping[str, str] | None = None) -> None:
    """Create a topic and wait until the broker tells of it; one with as many partitions is left alone.

    Raises `TopicError`.
    """
    check_topic_name(name)
    found = admin.partitions().get(name)
    if found is None:
        admin.create(name, partitions, config or {})
        deadline = time.monotonic() + 20
        while (found := admin.partitions().get(name)) is None:
            if time.monotonic() > deadline:
                raise TopicError(f"topic {name!r} was created, but the broker does not tell of it after 20 s")
            time.sleep(0.02)
    if found != partitions:
        raise other_partitions(name, found, partitions)


def _check_state_topic(admin: TopicAdmin, name: str, found: int | None, count: int) -> None:
    if found is None:
        create_topic(admin, name, count, STATE_CONFIG)
        return
    if found != count:
        raise other_partitions(name, found, count)
    config = admin.config(name)
    policy, segment = config.get("cleanup.policy", ""), int(config.get("segment.bytes", "0"))
    if policy != "compact":
        raise TopicError(f"topic {name!r} has cleanup.policy={policy}, expected compact; set it, or remove the topic")
    if segment > STATE_SEGMENT_BYTES:
        raise TopicError(
            f"topic {name!r} has segment.bytes={segment}, expected at most {STATE_SEGMENT_BYTES}; "
            "lower it, or snapshots pile up uncompacted"
        )
