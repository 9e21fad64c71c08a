"""What is committed is compared with the topics that are there."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.checkpoint.metadata import CommitMetadata, decode_metadata
from runtime.checkpoint.moved import affected_streams, grown, moved, other_input
from runtime.transports.protocol import METADATA_BYTES, Position, TopicIds

IDS = TopicIds("0" * 32, "1" * 32)
METADATA = CommitMetadata({"0123456789abcdef": 7}, 1_700_000_000_000, 12, 4, IDS)


def test_metadata_read_back_is_what_was_committed_and_fits_a_commit():
    assert decode_metadata(METADATA.encode(), "here") == METADATA
    models = {f"{number:016x}": 2**62 for number in range(3)}
    widest = CommitMetadata(models, 2**62, 2**62, 2**31, IDS)
    assert len(widest.encode()) < METADATA_BYTES / 4


def test_metadata_of_an_earlier_version_fits_any_topics():
    earlier = decode_metadata('{"edge-rnn":1,"replay_from":{"0123456789abcdef":7}}', "here")
    assert earlier is not None
    assert (other_input(earlier, IDS), moved(earlier, Position(9), IDS), grown(earlier, 6)) == (None, None, None)


@pytest.mark.parametrize(
    ("offset", "ids", "word"),
    [
        (12, IDS, None),
        (12, TopicIds(), None),
        (12, TopicIds("2" * 32, IDS.state), None),
        (11, IDS, "from 12 to 11"),
        (12, TopicIds(IDS.input, "2" * 32), "state topic"),
    ],
)
def test_position_whose_offset_or_state_topic_is_another_was_moved(offset, ids, word):
    reason = moved(METADATA, Position(offset), ids)
    assert reason is None if word is None else word in (reason or "")


def test_input_topic_of_another_id_is_another_input():
    assert other_input(METADATA, IDS) is None
    assert "2" * 32 in (other_input(METADATA, TopicIds("2" * 32, IDS.state)) or "")


def test_other_number_of_partitions_is_told_with_the_one_before():
    assert grown(METADATA, 4) is None
    assert "4 partitions and has 6" in (grown(METADATA, 6) or "")


def test_streams_saved_before_the_first_offset_held_are_named_up_to_three():
    keys, offsets = [b"a", b"b", b"c", b"d", b"e"], np.array([3, 19, 4, 5, 18])
    assert affected_streams(keys, offsets, 20).startswith("streams b'a', b'c', b'd' and 1 more")
    assert affected_streams(keys[:1], offsets[:1], 20).startswith("stream b'a',")
    assert affected_streams(keys[1:2], offsets[1:2], 20) == "streams that had no snapshot yet"
