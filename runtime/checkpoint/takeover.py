"""How a member goes on with the states that it held as a shadow of its group.

::

    standing ──► committed: applied as in a replay, nothing emitted
    committed ──► live

No snapshot is read. Where the shadow's states do not lead to what is committed, the partition is
brought back as at any start.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Sequence
from time import time

from edge_rnn.contract.fingerprint import FINGERPRINT_BYTES
from runtime.checkpoint.metadata import decode_metadata
from runtime.checkpoint.moved import grown, moved, other_input
from runtime.checkpoint.policy import RecoveryPolicy
from runtime.checkpoint.recovered import Recovered, Standing
from runtime.checkpoint.recovery import KEPT_MODELS, Recovery
from runtime.core.processor import Processor
from runtime.transports.protocol import Position, Transport

log = logging.getLogger("edge_rnn.daemon")


class Takeover(Recovery):
    """As `Recovery`, for the first time that a member is given its partitions; later ones come back as at any start."""

    def __init__(
        self,
        processor: Processor,
        transport: Transport,
        fingerprint: bytes,
        policy: RecoveryPolicy,
        state_bytes: int,
        standing: dict[int, Standing],
        clock: Callable[[], float] = time,
    ) -> None:
        """``standing`` is shared with the checkpoint, which takes out what it drops."""
        super().__init__(processor, transport, fingerprint, policy, state_bytes, clock)
        self._standing = standing
        self._first = True

    def holds(self, partition: int) -> bool:
        return partition in self._standing

    def assigned(self, partitions: Sequence[int]) -> None:
        """What is not ours at first is other members', whose states are others by the time it comes to us."""
        if self._first:
            self._first = False
            others = sorted(set(self._standing).difference(partitions))
            self._processor.streams.drop(others)
            for partition in others:
                del self._standing[partition]

    def recover(self, partition: int) -> Generator[None, None, Recovered]:
        standing = self._standing.pop(partition, None)
        if standing is None:
            return (yield from super().recover(partition))
        position = self._transport.committed(partition)
        yield
        recovered = None if position is None else self._going_on(partition, standing, position)
        if recovered is not None:
            return recovered
        log.warning(
            "the shadow's states do not lead to what is committed: brought back as at a start",
            extra={"partition": partition, "stood": standing.offset, "committed": position and position.offset},
        )
        self._processor.streams.drop([partition])
        return (yield from super().recover(partition))

    def _going_on(self, partition: int, standing: Standing, position: Position) -> Recovered | None:
        metadata = decode_metadata(position.metadata, f"partition {partition}")
        ids = self._transport.topic_ids
        if metadata is None or other_input(metadata, ids) or moved(metadata, position, ids):
            return None
        if grown(metadata, self._transport.input_partitions):
            return None
        name, begun = self._fingerprint.hex(), standing.begun
        if (name in metadata.replay_from) == begun.anew:  # another member has begun this model, or ended it
            return None
        begin, end = self._transport.bounds(partition)
        if not begin <= standing.offset <= position.offset <= end:
            return None
        others = [(other, offset) for other, offset in metadata.replay_from.items() if other != name]
        retained = dict(others[:KEPT_MODELS] if begun.anew else others)
        kept = {bytes.fromhex(other) for other in retained}
        return Recovered(
            position.offset,
            standing.offset,
            streams=self._processor.streams.live(partition),
            anew=begun.anew,
            retained=retained,
            newest_ms=metadata.newest_ms,
            obsolete=tuple(key for key in begun.obsolete if key[:FINGERPRINT_BYTES] not in kept),
        )
