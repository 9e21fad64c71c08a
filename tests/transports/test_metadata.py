"""Metadata of committed offsets is read as it was written, whoever wrote it and whoever reads it."""

from __future__ import annotations

import uuid

import pytest
from confluent_kafka import TopicPartition as Place
from hypothesis import given
from hypothesis import strategies as st
from kafka import KafkaConsumer, TopicPartition
from kafka.structs import OffsetAndMetadata

from edge_rnn.contract.errors import TransportError
from runtime.checkpoint.metadata import CommitMetadata
from runtime.transports.confluent_groups import ConfluentGroups
from runtime.transports.confluent_metadata import READS, ended, told
from runtime.transports.connect import open_broker
from runtime.transports.kafka_python_clients import place_of
from runtime.transports.protocol import Position


@given(st.dictionaries(st.text(max_size=8), st.integers(), max_size=3), st.text(max_size=5))
def test_what_stands_behind_our_metadata_is_left_out(replays, behind):
    text = CommitMetadata(replays, 7, 8, 9).encode()
    assert ended(text) == text
    assert ended(text + behind) == text


@pytest.mark.parametrize("text", ["", "of another program", "{not json", "7"])
def test_metadata_of_others_is_as_it_is(text):
    assert ended(text) == text


class _Damaged:
    def __init__(self, asked):
        self.asked = asked

    @property
    def metadata(self):
        return bytes([0x91 if self.asked < READS // 2 else 0x41]).decode()


def test_metadata_that_is_no_text_is_asked_for_again_but_not_for_ever():
    count = iter(range(1000))
    ((_, text),) = told(lambda: [_Damaged(next(count))])
    assert text == "A"
    with pytest.raises(TransportError, match="--client kafka-python"):
        told(lambda: [_Damaged(0)])


@pytest.mark.kafka
def test_confluent_reads_metadata_that_another_client_committed_without_a_zero(kafka_broker):
    """Of every length: some end where librdkafka's memory goes on with something else."""
    topic, group = (f"{kind}-{uuid.uuid4().hex[:8]}" for kind in ("told", "tellers"))
    broker = open_broker(kafka_broker, "confluent")
    broker.create_topic(topic, 1)
    broker.close()
    other = KafkaConsumer(bootstrap_servers=kafka_broker, group_id=group, enable_auto_commit=False)
    other.assign([TopicPartition(topic, 0)])
    groups = ConfluentGroups(kafka_broker, 20.0, {})
    spoilt = 0
    try:
        for length in range(1, 120):
            text = CommitMetadata({"a" * length: 5}).encode()
            other.commit({TopicPartition(topic, 0): OffsetAndMetadata(1, text, -1)})
            assert groups.positions(group) == {topic: {0: Position(1, text)}}
            try:
                spoilt += raw(groups, group) != text
            except UnicodeDecodeError:
                spoilt += 1
        assert spoilt, "the client reads this right now: told and place_of are not needed any more"
        for length in range(1, 120):
            text = CommitMetadata({"a" * length: 5}).encode()
            other.commit({TopicPartition(topic, 0): place_of(Position(1, text))})
            assert raw(groups, group) == text
    finally:
        groups.close()
        other.close()


def raw(groups, group):
    (place,) = groups._admin.group_offsets(group)
    assert isinstance(place, Place)
    return place.metadata
