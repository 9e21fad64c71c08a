"""The demo's records: what went in and what came out, with the moment of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np
import orjson


class OutputValue(msgspec.Struct, frozen=True):
    """An output record as the ``json`` codec writes it for a classifier."""

    output: list[list[float]]
    label: str
    scores: dict[str, float]

    @property
    def bits(self) -> bytes:
        """The raw results as the bytes of float32[step, class]."""
        return np.array(self.output, np.float32).tobytes()


@dataclass(slots=True)
class Sent:
    """Records that went in, in columns: number of the stream, step in it, timestamp in ms, moment in seconds."""

    streams: list[int] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    timestamps_ms: list[int] = field(default_factory=list)
    at_s: list[float] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.at_s)


@dataclass(slots=True)
class Seen:
    """Records that came out, in columns and in each partition's order; the moment is when a reader saw them."""

    keys: list[str] = field(default_factory=list)
    timestamps_ms: list[int] = field(default_factory=list)
    values: list[OutputValue | None] = field(default_factory=list)
    at_s: list[float] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.at_s)


_DECODER = msgspec.json.Decoder(OutputValue)


def encode_row(features: Sequence[str], row: np.ndarray) -> bytes:
    """A step as an object by feature name; its numbers keep every bit of ``row: float32[feature]``."""
    return orjson.dumps(dict(zip(features, row.tolist(), strict=True)))


def decode_output(value: bytes | None) -> OutputValue | None:
    """Read an output; ``None`` when it is none."""
    try:
        return _DECODER.decode(value or b"")
    except msgspec.DecodeError:
        return None
