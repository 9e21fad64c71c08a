"""Topics and offsets that do not fit are refused with a remedy, and with the remedy all goes on; on real Kafka."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge_rnn.contract.bundle import Bundle
from edge_rnn.contract.errors import TopicError
from runtime.transports.connect import open_broker
from runtime.transports.kafka_python_clients import KafkaPythonAdmin, TopicPartition
from runtime.transports.kafka_topics import STATE_SEGMENT_BYTES
from tests.daemon.processes import DEADLINE_S, wait_for
from tests.daemon.site import ROW, Site
from tests.oracle import Oracle

pytestmark = pytest.mark.kafka

PARTITIONS = 2


@pytest.fixture
def site(request: pytest.FixtureRequest, kafka_broker: str, tmp_path: Path) -> Iterator[Site]:
    """With kafka-python, unless the test is parametrized."""
    client = getattr(request, "param", "kafka-python")
    broker, admin = open_broker(kafka_broker, client), KafkaPythonAdmin(kafka_broker, {}, 20.0)
    site = Site(kafka_broker, client, f"t{uuid.uuid4().hex[:8]}", tmp_path, broker, admin)
    for role in ("in", "out"):
        broker.create_topic(site.name(role), PARTITIONS)
    yield site
    site.broker.close()
    admin.close()


both_clients = pytest.mark.parametrize("site", ["kafka-python", "confluent"], indirect=True)
confluent = pytest.mark.parametrize("site", ["confluent"], indirect=True)


def said(bundle: Bundle, *streams: str) -> list[bytes]:
    """What the model says to a row of ones for each of these streams, one after the other."""
    oracle = Oracle(bundle.path)
    return [oracle.step(stream, ROW).tobytes() for stream in streams]


# -- the state topic and the input's settings ---------------------------------------------------------------------


@both_clients
def test_missing_state_topic_is_made_compacted_with_the_inputs_partitions_and_small_segments(site):
    site.open()
    assert site.admin.partitions()[site.state] == PARTITIONS
    config = site.admin.config(site.state)
    assert config["cleanup.policy"] == "compact"
    assert int(config["segment.bytes"]) <= STATE_SEGMENT_BYTES


@both_clients
@pytest.mark.parametrize(
    ("partitions", "config", "words"),
    [
        (PARTITIONS, {"cleanup.policy": "delete"}, ("cleanup.policy=delete", "expected compact", "set it")),
        (PARTITIONS, {"cleanup.policy": "compact,delete"}, ("cleanup.policy=compact,delete", "expected compact")),
        (PARTITIONS, {"cleanup.policy": "compact", "segment.bytes": "134217728"}, ("134217728", "lower it")),
        (PARTITIONS + 1, {"cleanup.policy": "compact", "segment.bytes": "1048576"}, ("3 partitions", "expected 2")),
    ],
    ids=["deleted", "compacted and deleted", "segments too large", "too many partitions"],
)
def test_state_topic_that_would_not_keep_the_states_is_refused_with_the_remedy(site, partitions, config, words):
    site.admin.create(site.state, partitions, config)
    wait_for(lambda: site.state in site.admin.partitions(), "the state topic")
    with pytest.raises(TopicError) as refused:
        site.open()
    for word in (site.state, *words):
        assert word in str(refused.value)


@both_clients
@pytest.mark.parametrize("policy", ["compact", "compact,delete"])
def test_compacted_input_is_refused_unless_nothing_is_ever_replayed(site, policy):
    site.alter(site.name("in"), cleanup_policy=policy)
    with pytest.raises(TopicError) as refused:
        site.open()
    for word in (site.name("in"), f"cleanup.policy={policy}", "--snapshot-interval 0"):
        assert word in str(refused.value)
    site.open(replays=False)


def test_compacted_input_is_served_with_a_snapshot_in_every_commit(site, bundle):
    site.alter(site.name("in"), cleanup_policy="compact")
    assert "--snapshot-interval 0" in site.refused(bundle)
    site.feed((0, "a"), (0, "a"))
    assert site.serve(bundle, 2, "--snapshot-interval", "0") == [("a", each) for each in said(bundle, "a", "a")]


def test_empty_partitions_are_ready_at_once(site, bundle):
    with site.daemon(bundle) as process:
        wait_for(lambda: process.text().count("partition ready") == PARTITIONS, lambda: process.text()[-2000:])
    assert site.committed(0).offset == 0


# -- input that is gone ---------------------------------------------------------------------------------------------


@both_clients
def test_input_dropped_by_retention_is_refused_naming_the_streams_and_reset_begins_them_anew(site, bundle):
    """All are saved once; then they go on, few are saved, the daemon is killed, and what the replay needs goes."""
    rare = ("--snapshot-interval", "1h", "--snapshot-budget", "1")
    config = site.folder / "run.toml"
    config.write_text('[kafka]\n"session.timeout.ms" = 6000\n')
    rows = [(0, f"s{number}") for number in range(10)] * 2
    site.feed(*rows)
    site.serve(bundle, 20)
    site.feed(*rows)
    with site.daemon(bundle, *rare, "--config", str(config)) as process:
        wait_for(lambda: len(site.outputs()) == 40, lambda: process.text()[-2000:])
        process.kill()
    site.admin.client.delete_records({TopicPartition(site.name("in"), 0): 39})
    line = site.refused(bundle)
    for word in ("partition 0", "holds 39 to", "committed at 40", "--on-lost-input reset"):
        assert word in line
    assert re.search(r"streams b's\d', b's\d', b's\d' and \d+ more", line), line
    site.feed((0, "s1"))
    found = site.serve(bundle, 41, "--on-lost-input", "reset")
    assert found[40] == ("s1", said(bundle, "s1")[0])


# -- topics made anew, and partitions added ----------------------------------------------------------------------


def delete_topic(site: Site, name: str) -> None:
    site.admin.client.delete_topics([name])
    wait_for(lambda: name not in site.admin.partitions(), f"topic {name} is gone")


@both_clients
def test_state_topic_made_anew_is_noticed_by_its_id(site, bundle):
    site.feed((0, "a"))
    site.serve(bundle, 1)
    delete_topic(site, site.state)
    line = site.refused(bundle)
    for word in ("state topic was made anew", "--on-moved-offsets reset"):
        assert word in line
    site.feed((0, "a"))
    found = site.serve(bundle, 2, "--on-moved-offsets", "reset")
    assert found[1] == ("a", said(bundle, "a")[0])
    site.feed((0, "a"))
    assert site.serve(bundle, 3)[2] == ("a", said(bundle, "a", "a")[1])


@confluent
def test_input_topic_made_anew_is_noticed_and_reset_begins_it_from_its_beginning(site, bundle):
    """Kafka forgets the offsets of a topic that is deleted; a tool that puts them back is seen through by the id."""
    site.feed((0, "a"), (0, "a"))
    site.serve(bundle, 2)
    before = site.committed(0)
    delete_topic(site, site.name("in"))
    site.broker.create_topic(site.name("in"), PARTITIONS)
    site.feed((0, "a"), (0, "a"), (0, "a"), (0, "a"), (0, "a"))
    line = site.refused(bundle)
    assert "--on-moved-offsets reset" in line
    assert "partition" in line
    site.commit(0, before.offset, before.metadata.rstrip("\0"))
    assert "input topic was made anew" in site.refused(bundle)
    found = site.serve(bundle, 7, "--on-moved-offsets", "reset")
    assert [value for _, value in found[2:]] == said(bundle, *"aaaaa")


@both_clients
def test_partitions_added_between_runs_are_refused_and_reset_takes_them_on_from_their_beginning(site, bundle):
    site.feed((0, "a"), (1, "b"))
    site.serve(bundle, 2)
    site.grow(4)
    site.feed((0, "a"), (2, "b"), (3, "c"), (3, "c"))
    line = site.refused(bundle)
    for word in (site.name("in"), "4 partitions", "for 2", "--on-moved-offsets reset"):
        assert word in line
    found = site.serve(bundle, 6, "--on-moved-offsets", "reset", "--from", "latest")
    assert site.admin.partitions()[site.state] == 4
    by_key = {key: [value for each, value in found if each == key] for key in "abc"}
    (once,) = said(bundle, "b")
    assert by_key["a"] == said(bundle, "a", "a")
    assert by_key["b"] == [once, once]
    assert by_key["c"] == said(bundle, "c", "c")
    site.feed((3, "c"))
    assert ("c", said(bundle, "c", "c", "c")[2]) in site.serve(bundle, 7)


@both_clients
def test_partitions_added_while_running_end_the_daemon_with_the_remedy(site, bundle):
    config = site.folder / "run.toml"
    name = "topic.metadata.refresh.interval.ms" if site.client == "confluent" else "metadata.max.age.ms"
    config.write_text(f'[kafka]\n"{name}" = 1000\n')
    site.feed((0, "a"))
    with site.daemon(bundle, "--config", str(config)) as process:
        wait_for(lambda: len(site.outputs()) == 1, lambda: process.text()[-2000:])
        site.grow(3)
        began = time.monotonic()
        assert process.wait() == 1, process.text()[-2000:]
        assert time.monotonic() - began < DEADLINE_S / 2
        (line,) = [line for line in process.text().splitlines() if line.startswith("edge-rnn: ")]
    for word in (site.name("in"), "3 partitions", "while running", "--on-moved-offsets reset"):
        assert word in line
    site.feed((0, "a"), (2, "b"))
    found = site.serve(bundle, 3, "--on-moved-offsets", "reset")
    assert sorted(found) == sorted([*(("a", each) for each in said(bundle, "a", "a")), ("b", said(bundle, "b")[0])])


# -- offsets that somebody else moved --------------------------------------------------------------------------------


def earlier(site: Site) -> int:
    site.commit(0, 1)
    return 1


def later(site: Site) -> int:
    offset = site.committed(0).offset
    site.feed((0, "a"), (0, "a"))
    site.commit(0, offset + 2)
    return 0


def by_another_program(site: Site) -> int:
    site.commit(0, site.committed(0).offset, "another program's")
    return 0


def later_with_our_metadata(site: Site) -> int:
    before = site.committed(0)
    site.feed((0, "a"))
    site.commit(0, before.offset + 1, before.metadata.rstrip("\0"))
    return 0


def deleted(site: Site) -> int:
    def done() -> bool:
        return site.admin.client.delete_groups([site.group]) is not None

    wait_for(done, "the group is deleted")
    return 2


@pytest.mark.parametrize("move", [earlier, later, by_another_program, later_with_our_metadata, deleted])
@pytest.mark.parametrize("site", ["confluent"], indirect=True)
def test_offsets_that_were_moved_are_refused_and_reset_goes_on_from_them_without_state(
    move: Callable[[Site], int], site, bundle
):
    """``move`` says how many of the two records fed so far are to be read again."""
    site.feed((0, "a"), (0, "a"))
    site.serve(bundle, 2)
    again = move(site)
    line = site.refused(bundle)
    for word in ("partition 0", "--on-moved-offsets reset"):
        assert word in line
    site.feed((0, "a"))
    found = site.serve(bundle, 3 + again, "--on-moved-offsets", "reset")
    assert [value for _, value in found[2:]] == said(bundle, *["a"] * (again + 1))
