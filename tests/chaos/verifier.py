"""The verifier: is every input's output there, once, in order, bit for bit? It imports nothing of the runtime.

    python -m tests.chaos.verifier --bundle B --input IN --output OUT --dead DEAD (--kafka HOST:PORT | --sqlite FILE)

The input topic, read committed, is the truth of what was asked and in which order. What each stream's outputs must be
is computed by `tests.oracle.Oracle`: one record, one step, one call. The verdict is JSON on standard output.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from tests.chaos.reading import read_kafka, read_sqlite
from tests.chaos.records import FEATURES, Record, readable
from tests.oracle import Oracle

EXAMPLES = 20


class Wanted(NamedTuple):
    """What must come out once: the input's timestamp, which names it, and the bytes."""

    timestamp: int
    value: bytes
    origin: str


class Model(Protocol):
    """Something that steps streams: `tests.oracle.Oracle`, or a stand-in."""

    def steps(self, stream: object, rows: Iterable[np.ndarray]) -> np.ndarray: ...

    def end(self, stream: object) -> None: ...


Streams = dict[object, list[Wanted]]


@dataclass
class Verdict:
    """Counts of one topic against what was wanted. ``stray``: outputs that no input asked for."""

    wanted: int = 0
    found: int = 0
    streams: int = 0
    missing: int = 0
    doubled: int = 0
    out_of_order: int = 0
    wrong: int = 0
    stray: int = 0
    examples: list[str] = field(default_factory=list)

    @property
    def violations(self) -> int:
        """Everything that is not as it must be."""
        return self.missing + self.doubled + self.out_of_order + self.wrong + self.stray

    def note(self, kind: str, stream: object, what: str) -> None:
        """Count a violation, and keep the first few with what is known of them."""
        setattr(self, kind, getattr(self, kind) + 1)
        if len(self.examples) < EXAMPLES:
            self.examples.append(f"{kind}: stream {stream!r}: {what}")


def expectations(inputs: Iterable[Record], model: Model) -> tuple[Streams, Streams]:
    """What outputs and dead letters the inputs ask for, by stream, in input order.

    A stream of outputs is (partition, key); dead letters are spread by key, so theirs is the key.
    """
    outputs: Streams = {}
    dead: Streams = {}
    for record in inputs:
        stream, origin = (record.partition, record.key), f"input {record.partition}/{record.offset}"
        if record.value is None:
            model.end(stream)
        elif not readable(record.value):
            dead.setdefault(record.key, []).append(Wanted(record.timestamp, record.value, origin))
        else:
            rows = np.frombuffer(record.value, "<f4").reshape(-1, FEATURES)
            value = model.steps(stream, rows).astype("<f4").tobytes()
            outputs.setdefault(stream, []).append(Wanted(record.timestamp, value, origin))
    return outputs, dead


def compare(wanted: Mapping[object, Sequence[Wanted]], found: Iterable[tuple[object, int, bytes]]) -> Verdict:
    """Match ``(stream, timestamp, value)`` in the order found with what was wanted of each stream."""
    verdict = Verdict(wanted=sum(map(len, wanted.values())), streams=len(wanted))
    by_time: dict[tuple[object, int], list[int]] = {}
    for stream, all_of_it in wanted.items():
        for index, each in enumerate(all_of_it):
            by_time.setdefault((stream, each.timestamp), []).append(index)
    seen: dict[object, set[int]] = {stream: set() for stream in wanted}
    last: dict[object, int] = {}
    for place, (stream, timestamp, value) in enumerate(found):
        verdict.found += 1
        named = by_time.get((stream, timestamp), [])
        if not named:
            verdict.note("stray", stream, f"timestamp {timestamp}, {len(value)} bytes, at place {place}")
            continue
        told = f"{wanted[stream][named[0]].origin}, timestamp {timestamp}, at place {place}"
        right = [index for index in named if wanted[stream][index].value == value]
        if not right:
            verdict.note("wrong", stream, f"{told}: {value.hex()}, expected {wanted[stream][named[0]].value.hex()}")
        fresh = [index for index in right or named if index not in seen[stream]]
        if not fresh:
            verdict.note("doubled", stream, told)
            continue
        seen[stream].add(fresh[0])
        if fresh[0] < last.get(stream, -1):
            verdict.note("out_of_order", stream, f"{told}, after {wanted[stream][last[stream]].origin}")
        last[stream] = max(fresh[0], last.get(stream, -1))
    for stream, all_of_it in wanted.items():
        for index, each in enumerate(all_of_it):
            if index not in seen[stream]:
                verdict.note("missing", stream, f"{each.origin}, timestamp {each.timestamp}")
    return verdict


def verify(
    inputs: Sequence[Record], outputs: Iterable[Record], dead: Iterable[Record], model: Model
) -> dict[str, Verdict]:
    """The verdicts on outputs and on dead letters."""
    wanted, wanted_dead = expectations(inputs, model)
    return {
        "outputs": compare(wanted, (((r.partition, r.key), r.timestamp, r.value or b"") for r in outputs)),
        "dead_letters": compare(wanted_dead, ((r.key, r.timestamp, r.value or b"") for r in dead)),
    }


def main() -> int:
    """Read the three topics, print the verdict; exit status 1 if anything is not as it must be."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.verifier", description=__doc__.splitlines()[0])
    for name in ("input", "output", "dead"):
        parser.add_argument(f"--{name}", required=True, help=f"the {name} topic")
    parser.add_argument("--bundle", type=Path, required=True)
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--kafka", metavar="HOST:PORT")
    place.add_argument("--sqlite", metavar="FILE", type=Path)
    options = parser.parse_args()
    read: Callable[[str], list[Record]]
    if options.kafka:
        read = lambda topic: read_kafka(options.kafka, topic)  # noqa: E731
    else:
        read = lambda topic: read_sqlite(options.sqlite, topic)  # noqa: E731
    inputs = read(options.input)
    verdicts = verify(inputs, read(options.output), read(options.dead), Oracle(options.bundle))
    counts = {"inputs": len(inputs), "tombstones": sum(record.value is None for record in inputs)}
    print(json.dumps({**counts, **{name: asdict(verdict) for name, verdict in verdicts.items()}}))
    return 1 if any(verdict.violations for verdict in verdicts.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
