"""A partition's leader that does not answer: its end is asked again, never guessed."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator

import pytest

from edge_rnn.contract.errors import BrokerUnreachable
from runtime.transports.confluent_clients import ConfluentAdmin
from runtime.transports.connect import open_broker
from tests.kafka.cluster import KafkaCluster
from tests.transports.places import numbered, records

TOPIC, HELD = "led", 40


@pytest.fixture
def cluster() -> Iterator[KafkaCluster]:
    with KafkaCluster() as running:
        yield running


@pytest.mark.kafka
@pytest.mark.slow
def test_end_of_a_partition_whose_leader_hangs_is_that_of_the_next_leader(cluster: KafkaCluster) -> None:
    """librdkafka tells an offset of -1001 and no error; taken for an end, it would make a partition look empty."""
    broker = open_broker(cluster.bootstrap, "confluent")
    broker.create_topic(TOPIC, 1)
    broker.write(TOPIC, records(numbered(HELD), partitions=[0] * HELD))
    broker.close()
    hasty, patient = (ConfluentAdmin(cluster.bootstrap, {}, timeout_s) for timeout_s in (0.0, 60.0))
    leader = hasty.client.list_topics(TOPIC, timeout=10).topics[TOPIC].partitions[0].leader
    hung = cluster.nodes[leader - 1]._process
    assert hung is not None
    assert hasty.ends(TOPIC, [0]) == patient.ends(TOPIC, [0]) == {0: HELD}
    os.kill(hung.pid, signal.SIGSTOP)
    try:
        with contextlib.suppress(BrokerUnreachable):  # no answer in time, unless the next leader was there by then
            assert hasty.ends(TOPIC, [0]) == {0: HELD}
        assert patient.ends(TOPIC, [0]) == {0: HELD}
        assert patient.bounds(TOPIC, [0]) == {0: (0, HELD)}
        assert patient.offset_at(TOPIC, 0, int(1000 * time.time()) + 3_600_000) < 0
    finally:
        os.kill(hung.pid, signal.SIGCONT)
        hasty.close()
        patient.close()
