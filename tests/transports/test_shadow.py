"""A shadow's reading: what its group has committed, in order, each record once, and nothing beyond."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from runtime.core.comparison import Comparison
from runtime.transports.connect import open_observer
from runtime.transports.protocol import Position
from runtime.transports.shadow import ShadowTransport
from tests.transports.places import PARTITIONS, Member, Place, Record, numbered, records, rows

EACH = 10


@contextmanager
def shadow_of(place: Place, starts: dict[int, int]) -> Iterator[Member]:
    """A shadow that reads each partition from ``starts`` on."""

    def read(value: bytes) -> np.ndarray:
        return np.frombuffer(value, np.uint8).astype(np.float64)[None]

    member = Member(ShadowTransport(open_observer(place.settings), Comparison(read, classes=False, tolerance=1e-3)))
    try:
        yield member.open().join().serve(starts)
    finally:
        member.transport.close()


def by_partition(taken: list[Record]) -> dict[int, list[Record]]:
    return {partition: [each for each in taken if each.partition == partition] for partition in range(PARTITIONS)}


def after(taken: dict[int, list[Record]], count: int) -> dict[int, Position]:
    """The position after the first ``count`` records of each partition."""
    return {partition: Position(mine[count - 1].offset + 1) for partition, mine in taken.items()}


def nothing_more(member: Member, committed: dict[int, Position]) -> None:
    for _ in range(5):
        batch = member.transport.poll(500, 0.1)
        assert rows(batch) == []
        member.next.update(batch.positions)
    assert all(member.next[partition] <= position.offset for partition, position in committed.items())


def test_shadow_gives_no_record_that_its_group_has_not_committed(place, open_member):
    member = open_member().join().serve_end()
    starts = dict(member.next)
    place.broker.write(place.settings.input, records(numbered(EACH * PARTITIONS)))
    taken = by_partition(member.take(EACH * PARTITIONS))
    some, more, all_ = after(taken, 4), after(taken, 7), after(taken, EACH)
    member.transport.commit(some)
    with shadow_of(place, starts) as shadow:
        given = shadow.take(4 * PARTITIONS)
        nothing_more(shadow, some)
        member.transport.commit({**some, 0: more[0]})  # one partition goes on alone
        given += shadow.take(3)
        nothing_more(shadow, {**some, 0: more[0]})
        member.transport.commit(all_)
        given += shadow.take(EACH * PARTITIONS - len(given))
        nothing_more(shadow, all_)
        assert by_partition(given) == taken
        assert {partition: shadow.next[partition] for partition in starts} == {p: all_[p].offset for p in starts}


def test_shadow_that_begins_anew_gives_what_it_held_back_once(place, open_member):
    member = open_member().join().serve_end()
    starts = dict(member.next)
    place.broker.write(place.settings.input, records(numbered(EACH * PARTITIONS)))
    taken = by_partition(member.take(EACH * PARTITIONS))
    some, all_ = after(taken, 4), after(taken, EACH)
    member.transport.commit(some)
    with shadow_of(place, starts) as shadow:
        shadow.take(4 * PARTITIONS)
        nothing_more(shadow, some)  # the others have been read, and are held back
        assert sum(shadow.transport.lag().values()) >= (EACH - 4) * PARTITIONS
        shadow.transport.abort()
        shadow.next.clear()
        shadow.serve(starts)
        member.transport.commit(all_)
        given = shadow.take(EACH * PARTITIONS)
        nothing_more(shadow, all_)
        assert by_partition(given) == taken
