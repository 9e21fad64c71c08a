"""Whether what was committed still fits the topics that are there, and what to say where it does not. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from runtime.checkpoint.metadata import CommitMetadata
from runtime.transports.protocol import Position, TopicIds

NAMED_STREAMS = 3
"""Most streams that an error names; of the others it tells the number."""


def other_input(metadata: CommitMetadata, ids: TopicIds) -> str | None:
    """Why the committed offset says nothing of the input; ``None``: it is the same topic, as far as is known."""
    before = metadata.topic_ids.input
    if before and ids.input and before != ids.input:
        return f"the input topic was made anew since (its id is {ids.input}, committed was {before})"
    return None


def moved(metadata: CommitMetadata, position: Position, ids: TopicIds) -> str | None:
    """Why the states do not belong to the committed offset; ``None``: they do, as far as is known."""
    if metadata.offset is not None and metadata.offset != position.offset:
        return f"another program moved its offset from {metadata.offset} to {position.offset}"
    before = metadata.topic_ids.state
    if before and ids.state and before != ids.state:
        return (
            f"the state topic was made anew since, without its states (its id is {ids.state}, committed was {before})"
        )
    return None


def grown(metadata: CommitMetadata, partitions: int) -> str | None:
    """How the number of the input's partitions changed; ``None``: as committed."""
    before = metadata.partitions
    if before is None or before == partitions:
        return None
    return f"the input had {before} partitions and has {partitions}: keys may have moved to other ones"


def affected_streams(keys: Sequence[bytes], offsets: np.ndarray, begin: int) -> str:
    """The streams that may have had input before ``begin`` which their snapshots (``offsets``: int64[n]) lack."""
    old = np.flatnonzero(offsets < begin - 1)
    named = ", ".join(repr(keys[index]) for index in old[:NAMED_STREAMS].tolist())
    if not old.size:
        return "streams that had no snapshot yet"
    more = f" and {old.size - NAMED_STREAMS} more" if old.size > NAMED_STREAMS else ""
    return f"{'stream' if old.size == 1 else 'streams'} {named}{more}, and of any that had no snapshot yet"
