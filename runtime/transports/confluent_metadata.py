"""The metadata of committed offsets, as confluent-kafka gives it.

It takes a string to end at a zero, which librdkafka's own commits have and those of other clients do not: librdkafka
hands on just the bytes (seen with 2.16.0). Behind these come whatever bytes lie there, up to the next zero. Our
kafka-python transport therefore commits a zero too (`runtime.transports.kafka_python_clients.place_of`); what
others have committed is read here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable

from confluent_kafka import TopicPartition

from edge_rnn.contract.errors import TransportError

READS = 50
"""What lies behind a string differs each time: one that is no text is asked for again, so often."""


def told(ask: Callable[[], Iterable[TopicPartition]]) -> list[tuple[TopicPartition, str]]:
    """What ``ask`` gives, and the metadata of each. Raises `TransportError` when it is never text."""
    asked = []  # kept, so that each answer lies elsewhere in memory
    for _ in range(READS):
        asked.append(places := list(ask()))
        try:
            return [(place, ended(place.metadata or "")) for place in places]
        except UnicodeDecodeError:
            continue
    raise TransportError(
        "the metadata of a committed offset cannot be read: a client other than librdkafka's committed it;"
        " --client kafka-python reads it"
    )


def ended(text: str) -> str:
    """Without what stands behind a JSON object, which is what ours is; any other text as it is."""
    if text.startswith("{"):
        try:
            return text[: json.JSONDecoder().raw_decode(text)[1]]
        except ValueError:
            pass
    return text
