"""How a partition comes back: its snapshots in bulk, then where to replay from and where to go live.

::

    snapshots ──► states as of their own offsets
    replay_from ──► committed: applied again where newer than the snapshot, nothing emitted
    committed ──► live
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np

from edge_rnn.contract.errors import StateError
from runtime.checkpoint.checkpoint import split_fingerprints
from runtime.checkpoint.metadata import decode_metadata
from runtime.checkpoint.policy import Answer, RecoveryPolicy
from runtime.checkpoint.snapshot import Snapshots, decode_snapshots
from runtime.core.processor import Processor
from runtime.transports.protocol import Position, Transport


@dataclass(frozen=True, slots=True)
class Recovered:
    """A partition brought back: read from ``replay_from``, emit from ``offset`` on.

    ``streams`` have their state. ``anew``: this place is not what is committed, so it must be, even
    if no record follows. ``obsolete``: stored keys of states that may not be used any more.
    """

    offset: int
    replay_from: int
    streams: int = 0
    anew: bool = False
    obsolete: tuple[bytes, ...] = ()


class Recovery:
    """Brings partitions back for one model with its settings."""

    def __init__(
        self,
        processor: Processor,
        transport: Transport,
        fingerprint: bytes,
        policy: RecoveryPolicy,
        state_bytes: int,
    ) -> None:
        self._processor = processor
        self._transport = transport
        self._fingerprint = fingerprint
        self._policy = policy
        self._state_bytes = state_bytes

    def recover(self, partition: int) -> Generator[None, None, Recovered]:
        """Work on a partition piece by piece: yields between pieces, so that others are served meanwhile.

        Raises `StateError` where states and offsets do not fit, `TransportError`.
        """
        where = f"partition {partition}"
        position = self._transport.committed(partition)
        yield
        begin, end = self._transport.bounds(partition)
        newest: dict[bytes, bytes] = {}
        for keys, values in self._transport.restore(partition):
            newest.update(zip(keys, values, strict=True))
            yield
        ours, others = split_fingerprints(newest, self._fingerprint)
        all_keys = (*ours, *others)
        if position is None:
            offset = begin if self._policy.start == "earliest" else end
            if all_keys:
                self._refuse_or(
                    self._policy.on_moved_offsets,
                    f"{where} has snapshots but no committed offset: the group's offsets were deleted;"
                    " --on-moved-offsets reset starts without state",
                )
            return Recovered(offset, offset, anew=True, obsolete=all_keys)
        replay_from = self._replay_from(where, position)
        if replay_from is None or not begin <= replay_from <= position.offset <= end:
            if replay_from is not None:
                self._refuse_or(
                    self._policy.on_lost_input,
                    f"{where} needs its input from offset {replay_from} on and is committed at {position.offset},"
                    f" its input holds {begin} to {end}: input was dropped by retention or the topic was made anew;"
                    " --on-lost-input reset goes on from the nearest offset without state",
                )
            offset = min(max(position.offset, begin), end)
            return Recovered(offset, offset, anew=True, obsolete=all_keys)
        snapshots = decode_snapshots(list(ours), list(ours.values()), self._state_bytes, where)
        beyond = np.flatnonzero(snapshots.offsets >= position.offset)
        if beyond.size:
            self._refuse_or(
                self._policy.on_moved_offsets,
                f"{where} is committed at offset {position.offset}, but stream {snapshots.keys[beyond[0]]!r} has seen"
                f" offset {snapshots.offsets[beyond[0]]}: the offsets were moved back; --on-moved-offsets reset goes"
                " on from there without state",
            )
            return Recovered(position.offset, position.offset, anew=True, obsolete=all_keys)
        self._restore(partition, snapshots)
        return Recovered(position.offset, replay_from, streams=len(snapshots.keys))

    def _replay_from(self, where: str, position: Position) -> int | None:
        """From where the committed metadata says to replay; ``None``: begin without state, as the policy allows."""
        metadata = decode_metadata(position.metadata, where)
        if metadata is None:
            self._refuse_or(
                self._policy.on_moved_offsets,
                f"{where} has committed offset {position.offset} without our metadata: the offsets were moved, or"
                " another program uses this group; --on-moved-offsets reset goes on from there without state",
            )
            return None
        found = metadata.replay_from.get(self._fingerprint.hex())
        if found is None:
            self._refuse_or(
                self._policy.on_new_model,
                f"{where} was committed by another model or other settings (fingerprint"
                f" {', '.join(metadata.replay_from)}, expected {self._fingerprint.hex()});"
                " --on-new-model reset goes on without state",
            )
        return found

    def _restore(self, partition: int, snapshots: Snapshots) -> None:
        if snapshots.keys:
            self._processor.restore(partition, snapshots.keys, snapshots.rows, snapshots.offsets, snapshots.timestamps)

    @staticmethod
    def _refuse_or(answer: Answer, message: str) -> None:
        if answer == "fail":
            raise StateError(message)
