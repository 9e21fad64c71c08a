"""What is committed beside an input offset: which models' snapshots stand, and from where to replay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from edge_rnn.contract.errors import StateError

VERSION = 1


@dataclass(frozen=True, slots=True)
class CommitMetadata:
    """``replay_from`` maps a state fingerprint (hex) to the lowest offset that a stream of it still needs."""

    replay_from: dict[str, int]

    def encode(self) -> str:
        """Compact JSON, well under Kafka's limit of 4,096 bytes."""
        return msgspec.json.encode({"edge-rnn": VERSION, "replay_from": self.replay_from}).decode()


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
    return CommitMetadata({str(k): int(v) for k, v in value["replay_from"].items()})
