"""What is committed beside an input offset: which models' snapshots stand, and from where to replay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from edge_rnn.contract.errors import StateError
from runtime.transports.protocol import UNKNOWN_IDS, TopicIds

VERSION = 1


@dataclass(frozen=True, slots=True)
class CommitMetadata:
    """``replay_from`` maps a state fingerprint (hex) to the lowest offset that a stream of it still needs.

    The model that committed comes first; behind it stand those before it, whose snapshots are kept so
    that going back to them works. ``newest_ms``: the partition's newest record time so far, in
    milliseconds since 1970 (``None``: no record had one). ``offset`` is the one it was committed
    with, ``partitions`` the input's number of them, ``topic_ids`` tell input and state topic from
    later ones of the same names.
    """

    replay_from: dict[str, int]
    newest_ms: int | None = None
    offset: int | None = None
    partitions: int | None = None
    topic_ids: TopicIds = UNKNOWN_IDS

    def encode(self) -> str:
        """Compact JSON, well under Kafka's limit of 4,096 bytes."""
        value: dict[str, object] = {"edge-rnn": VERSION, "replay_from": self.replay_from}
        given = {"newest_ms": self.newest_ms, "offset": self.offset, "partitions": self.partitions}
        value.update({name: number for name, number in given.items() if number is not None})
        if any(self.topic_ids):
            value["topic_ids"] = self.topic_ids
        return msgspec.json.encode(value).decode()


def decode_metadata(text: str, where: str) -> CommitMetadata | None:
    """Read it back; ``None`` when it is not ours (empty, or another program's). Raises `StateError` for a newer one."""
    try:
        value: Any = msgspec.json.decode(text.encode())
    except msgspec.DecodeError:
        return None
    if not isinstance(value, dict) or "edge-rnn" not in value:
        return None
    if value["edge-rnn"] != VERSION or not isinstance(value.get("replay_from"), dict):
        raise StateError(
            f"{where}: the commit's metadata has version {value['edge-rnn']!r}, expected {VERSION};"
            " run the edge-rnn version that wrote it"
        )
    return CommitMetadata(
        {str(k): int(v) for k, v in value["replay_from"].items()},
        value.get("newest_ms"),
        value.get("offset"),
        value.get("partitions"),
        TopicIds(*value.get("topic_ids", ())),
    )
