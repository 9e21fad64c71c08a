"""Committed messages of many partitions, each up to an end, over one consumer that is in no group."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Any

WAIT_S = 0.1


class PartitionReader(ABC):
    """Partitions join (`add`) and leave (`drop`) at any time; each is read with `take`. A client fills in the rest."""

    def __init__(self) -> None:
        self.ends: dict[int, int] = {}
        self._waiting: set[int] = set()
        self._pages: dict[int, list[Any]] = {}
        self._asked: set[int] = set()

    def add(self, partition: int, start: int, end: int) -> None:
        """Read a partition from ``start`` to ``end``."""
        self.ends[partition] = end
        if start < end:
            self._waiting.add(partition)
            self.assign(partition, start)

    def take(self, partition: int, *, wait: bool = True) -> list[Any] | None:
        """The next messages of a partition; ``None``: there are no more.

        Empty where none have come: a transaction before the end is still open, or the broker is away. Who asks for
        a second time waits for a tenth of a second at most, so that many partitions asked in turn wait but once;
        not if ``wait`` says so.
        """
        if partition in self._waiting and not self._pages.get(partition):
            again = wait and partition in self._asked
            if again:
                self._asked.clear()
            self._asked.add(partition)
            pages, reached = self.fetch(WAIT_S if again else 0.0)
            for number, page in pages.items():
                self._pages.setdefault(number, []).extend(page)
            for number, offset in reached.items():
                if number in self._waiting and offset >= self.ends[number]:
                    self._waiting.discard(number)
                    self.unassign(number)
        page = self._pages.pop(partition, [])
        return page if page or partition in self._waiting else None

    def drop(self, partition: int) -> None:
        """Read a partition no further."""
        if partition in self._waiting:
            self._waiting.discard(partition)
            self.unassign(partition)
        self.ends.pop(partition, None)
        self._pages.pop(partition, None)

    @abstractmethod
    def assign(self, partition: int, start: int) -> None:
        """Begin to fetch a partition."""

    @abstractmethod
    def unassign(self, partition: int) -> None:
        """Fetch a partition no more; nothing to do once closed."""

    @abstractmethod
    def fetch(self, wait_s: float) -> tuple[dict[int, list[Any]], dict[int, int]]:
        """What has come, below each partition's end, and the offsets reached, which may be past markers."""

    @abstractmethod
    def close(self) -> None:
        """Free the connections."""


def read_to(
    make_reader: Callable[[], PartitionReader], starts: Mapping[int, int], ends: Mapping[int, int]
) -> Iterator[list[Any]]:
    """Messages of some partitions from ``starts`` to ``ends``, page by page; a page may be empty."""
    waiting = {partition for partition, start in starts.items() if start < ends[partition]}
    if not waiting:
        return
    reader = make_reader()
    try:
        for partition in waiting:
            reader.add(partition, starts[partition], ends[partition])
        while waiting:
            for partition in sorted(waiting):
                page = reader.take(partition)
                if page is None:
                    waiting.discard(partition)
                else:
                    yield page
    finally:
        reader.close()


class Restores:
    """The partitions that are being restored at one time share one reader, which goes with the last of them."""

    def __init__(self, make_reader: Callable[[], PartitionReader]) -> None:
        self._make_reader = make_reader
        self._reader: PartitionReader | None = None

    def restore(self, partition: int, end: int) -> Iterator[list[Any]]:
        """The messages of a partition of the state topic up to ``end``, page by page; a page may be empty."""
        if not end:
            return
        if self._reader is None:
            self._reader = self._make_reader()
        reader = self._reader
        reader.add(partition, 0, end)
        try:
            while (page := reader.take(partition)) is not None:
                yield page
        finally:
            reader.drop(partition)
            if self._reader is reader and not reader.ends:
                self.close()

    def close(self) -> None:
        """Free the connections."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()
