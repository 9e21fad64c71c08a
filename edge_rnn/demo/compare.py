"""Every output compared with what it must be: lost, doubled, out of order, or of other bits."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple


class Record(NamedTuple):
    """An output: its stream, the timestamp it shares with its input (in ms, unique in its stream), its bits."""

    stream: str
    timestamp_ms: int
    bits: bytes | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """Counts of records. ``unknown``: outputs that belong to no input."""

    records_in: int
    outputs: int
    lost: int
    doubled: int
    out_of_order: int
    different: int
    unknown: int

    @property
    def is_exact(self) -> bool:
        """Whether every input has one output, the right one, in order."""
        return not (self.lost or self.doubled or self.out_of_order or self.different or self.unknown)


def compare(expected: Iterable[Record], seen: Iterable[Record]) -> Verdict:
    """Hold ``seen`` against ``expected``; both in each stream's order, streams mixed at will.

    Raises `ValueError` when two expected records have one name: outputs could not be told apart.
    """
    wanted: dict[tuple[str, int], tuple[int, bytes | None]] = {}
    for place, record in enumerate(expected):
        if (record.stream, record.timestamp_ms) in wanted:
            raise ValueError(f"stream {record.stream!r} has two records of timestamp {record.timestamp_ms}")
        wanted[record.stream, record.timestamp_ms] = place, record.bits
    outputs = doubled = out_of_order = different = unknown = 0
    met: set[tuple[str, int]] = set()
    latest: dict[str, int] = {}
    for record in seen:
        outputs += 1
        name = record.stream, record.timestamp_ms
        if name not in wanted:
            unknown += 1
            continue
        place, bits = wanted[name]
        different += record.bits != bits
        if name in met:
            doubled += 1
            continue
        met.add(name)
        out_of_order += place < latest.get(record.stream, -1)
        latest[record.stream] = max(place, latest.get(record.stream, -1))
    return Verdict(
        records_in=len(wanted),
        outputs=outputs,
        lost=len(wanted) - len(met),
        doubled=doubled,
        out_of_order=out_of_order,
        different=different,
        unknown=unknown,
    )
