"""How a partition comes back: its snapshots in bulk, then where to replay from and where to go live.

::

    snapshots ──► states as of their own offsets
    replay_from ──► committed: applied again where newer than the snapshot, nothing emitted
    committed ──► live
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence

from edge_rnn.contract.errors import StateError
from edge_rnn.contract.fingerprint import FINGERPRINT_BYTES
from runtime.checkpoint.metadata import CommitMetadata, decode_metadata
from runtime.checkpoint.moved import affected_streams, grown, moved, other_input
from runtime.checkpoint.policy import Answer, RecoveryPolicy
from runtime.checkpoint.recovered import Recovered
from runtime.checkpoint.stored import Stored
from runtime.core.processor import Processor
from runtime.transports.protocol import Position, Transport

KEPT_MODELS = 2
"""Models before the present one whose snapshots are kept, so that going back to them works."""


class Recovery:
    """Brings partitions back for one model with its settings."""

    def __init__(
        self,
        processor: Processor,
        transport: Transport,
        fingerprint: bytes,
        policy: RecoveryPolicy,
        state_bytes: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``clock`` gives seconds since 1970: no record's time beyond it counts for a warm-up."""
        self._processor = processor
        self._transport = transport
        self._fingerprint = fingerprint
        self._policy = policy
        self._state_bytes = state_bytes
        self._clock = clock

    def holds(self, partition: int) -> bool:
        """Whether the streams of a partition are in the processor already, to go on with."""
        return False

    def assigned(self, partitions: Sequence[int]) -> None:
        """These are newly ours, and will be brought back."""

    def recover(self, partition: int) -> Generator[None, None, Recovered]:
        """Work on a partition piece by piece: yields between pieces, so that others are served meanwhile.

        Raises `StateError` where states and offsets do not fit, `TransportError`.
        """
        where = f"partition {partition}"
        position = self._transport.committed(partition)
        yield
        begin, end = self._transport.bounds(partition)
        stored = Stored(self._processor, partition, self._fingerprint, self._state_bytes)
        for keys, values in self._transport.restore(partition):
            stored.take(keys, values)
            yield
        if position is None:
            if stored:
                self._refuse_or(
                    self._policy.on_moved_offsets,
                    f"{where} has snapshots but no committed offset: the group's offsets were deleted;"
                    " --on-moved-offsets reset starts without state",
                )
            return self._begun(partition, begin, end, stored.give_up())
        metadata = self._metadata(where, position)
        if metadata is not None and (reason := other_input(metadata, self._transport.topic_ids)):
            self._refuse_or(
                self._policy.on_moved_offsets, f"{where}: {reason}; --on-moved-offsets reset begins it as --from says"
            )
            return self._begun(partition, begin, end, stored.give_up())
        name = self._fingerprint.hex()
        warm_up = metadata is not None and name not in metadata.replay_from and self._warms_up(where, metadata)
        if metadata is None or not (name in metadata.replay_from or warm_up):
            offset = min(max(position.offset, begin), end)
            return Recovered(offset, offset, anew=True, obsolete=stored.give_up())
        if warm_up and begin <= position.offset <= end:
            return self._warmed_up(partition, position, metadata, begin, stored.give_up())
        replay_from = metadata.replay_from.get(name, position.offset)
        stored.check()
        if not begin <= replay_from <= position.offset <= end:
            lost = affected_streams(*stored.streams(), begin)
            self._refuse_or(
                self._policy.on_lost_input,
                f"{where} needs its input from offset {replay_from} on and is committed at {position.offset},"
                f" its input holds {begin} to {end}: records were dropped by retention, or the topic was made anew,"
                f" that may be of {lost}; --on-lost-input reset goes on from the nearest offset without state",
            )
            offset = min(max(position.offset, begin), end)
            return Recovered(offset, offset, anew=True, obsolete=stored.give_up())
        newest = stored.newest()
        if newest is not None and newest[1] >= position.offset:
            self._refuse_or(
                self._policy.on_moved_offsets,
                f"{where} is committed at offset {position.offset}, but stream {newest[0]!r} has seen"
                f" offset {newest[1]}: the offsets were moved back; --on-moved-offsets reset goes"
                " on from there without state",
            )
            return Recovered(position.offset, position.offset, anew=True, obsolete=stored.give_up())
        retained = {other: offset for other, offset in metadata.replay_from.items() if other != name}
        return Recovered(
            position.offset,
            replay_from,
            streams=self._processor.streams.live(partition),
            anew=grown(metadata, self._transport.input_partitions) is not None,
            retained=retained,
            newest_ms=metadata.newest_ms,
        )

    def _metadata(self, where: str, position: Position) -> CommitMetadata | None:
        """What was committed beside the offset; ``None``: begin without state, as the policy allows."""
        metadata = decode_metadata(position.metadata, where)
        if metadata is None:
            self._refuse_or(
                self._policy.on_moved_offsets,
                f"{where} has committed offset {position.offset} without our metadata: the offsets were moved, or"
                " another program uses this group; --on-moved-offsets reset goes on from there without state",
            )
            return None
        ids, partitions = self._transport.topic_ids, self._transport.input_partitions
        if other_input(metadata, ids):
            return metadata
        if reason := moved(metadata, position, ids):
            self._refuse_or(
                self._policy.on_moved_offsets,
                f"{where}: {reason}; --on-moved-offsets reset goes on from offset {position.offset} without state",
            )
            return None
        if reason := grown(metadata, partitions):
            self._refuse_or(
                self._policy.on_moved_offsets,
                f"{where}: {reason}, where they begin anew; --on-moved-offsets reset goes on so",
            )
        return metadata

    def _begun(self, partition: int, begin: int, end: int, obsolete: tuple[bytes, ...]) -> Recovered:
        """A partition that has never been read; one that was added to a group's input is read from its beginning."""
        offset = begin if self._policy.start == "earliest" or self._was_added(partition) else end
        return Recovered(offset, offset, anew=True, obsolete=obsolete)

    def _was_added(self, partition: int) -> bool:
        first = self._transport.committed(0) if partition else None
        metadata = None if first is None else decode_metadata(first.metadata, "partition 0")
        return metadata is not None and metadata.partitions is not None and partition >= metadata.partitions

    def _warms_up(self, where: str, metadata: CommitMetadata) -> bool:
        """Whether a model that this partition has not seen replays recent input; ``False``: begin without state."""
        if self._policy.on_new_model == "fail":
            raise StateError(
                f"{where} was committed by another model or other settings (fingerprint"
                f" {', '.join(metadata.replay_from)}, expected {self._fingerprint.hex()});"
                " --on-new-model warmup=10m replays the last ten minutes first, reset goes on without state"
            )
        return self._policy.on_new_model == "warmup"

    def _warmed_up(
        self, partition: int, position: Position, metadata: CommitMetadata, begin: int, stored: tuple[bytes, ...]
    ) -> Recovered:
        """Replay what came shortly before the committed offset; the models before keep their snapshots."""
        start = begin
        if metadata.newest_ms is not None:
            newest_ms = min(metadata.newest_ms, int(1000 * self._clock()))
            start = max(begin, self._transport.offset_at(partition, newest_ms - self._policy.warmup_ms))
        retained = dict(list(metadata.replay_from.items())[:KEPT_MODELS])
        kept = {bytes.fromhex(name) for name in retained}
        return Recovered(
            position.offset,
            min(start, position.offset),
            anew=True,
            retained=retained,
            newest_ms=metadata.newest_ms,
            obsolete=tuple(key for key in stored if key[:FINGERPRINT_BYTES] not in kept),
        )

    @staticmethod
    def _refuse_or(answer: Answer, message: str) -> None:
        if answer == "fail":
            raise StateError(message)
