"""A shadow that is promoted: nothing lost, nothing doubled, and the states of one long run."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from edge_rnn.contract.bundle import Bundle
from tests.daemon.conftest import PARTITIONS, Place
from tests.daemon.feeds import Feed
from tests.daemon.processes import DaemonProcess, wait_for
from tests.daemon.test_shadow import STREAMS, Shadow, daemon, feed_of
from tests.models_for_tests import make_bundle
from tests.oracle import Oracle

LIVE = ("--instance", "live")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, Bundle]:
    folder = tmp_path_factory.mktemp("models")
    return make_bundle(folder / "one", seed=1), make_bundle(folder / "two", seed=2)


def ask(shadow: Shadow, path: str = "/promote", headers: dict[str, str] | None = None) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", shadow.port, timeout=60)
    try:
        connection.request("POST", path, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def outputs_are(place: Place, expected: list[list[bytes]]) -> None:
    """Each stream's outputs: all of them, once, in order, with these bits."""
    found = place.read()
    for stream, values in enumerate(expected):
        mine = [v for k, v in zip(found.keys, found.values, strict=True) if k == b"s%d" % stream]
        assert mine == values, f"stream {stream}: {len(mine)} outputs, expected {len(values)}"


@contextmanager
def ended(*processes: DaemonProcess) -> Iterator[None]:
    try:
        yield
    finally:
        for process in processes:
            process.close()


def said_by(feed: Feed, old: Bundle, new: Bundle, since: int) -> list[list[bytes]]:
    """The old model's outputs of the first ``since`` seconds, then the new one's, which has seen them too."""
    olds, news = feed.expected(old), feed.expected(new)
    return [[*one[:since], *two[since:]] for one, two in zip(olds, news, strict=True)]


@pytest.mark.parametrize("same", [True, False], ids=["same-model", "other-model"])
def test_promoted_shadow_goes_on_where_the_old_daemon_stopped_and_survives_a_kill(place, models, same):
    one = models[0]
    new = one if same else models[1]
    feed = feed_of(place)
    feed.more(20)
    live = daemon(place, one)
    with ended(live):
        wait_for(lambda: len(place.read()) == 20 * STREAMS, "the group's first outputs")
        shadow = Shadow(place, new, *LIVE)
        with ended(shadow.process):
            feed.more(30)
            wait_for(lambda: len(place.read()) == 50 * STREAMS, "outputs beside the shadow")
            if same:
                status, text = ask(shadow, "/promote/prepare")
                assert status == 200, text
            assert live.stop() == 0, live.text()
            feed.more(10)  # while nobody serves: the shadow must not get ahead of what was committed
            status, text = ask(shadow)
            assert status == 200, text + shadow.process.text()[-3000:]
            assert json.loads(text)["instance"] == "live"
            assert 0 < json.loads(text)["seconds"] < 30
            assert "do not lead" not in shadow.process.text(), "the states that the shadow held were not used"
            assert shadow.process.text().count("prepared to take over") == same
            feed.more(10)
            wait_for(lambda: len(place.read()) >= 70 * STREAMS, lambda: f"outputs; {shadow.process.text()[-3000:]}")
            assert ask(shadow)[0] == 409
            shadow.process.kill()
        outputs_are(place, said_by(feed, one, new, 50))
        again = DaemonProcess(
            place.arguments(new, *LIVE, "--on-new-model", "fail", "--http", "127.0.0.1:0"), place.folder / "again.log"
        )
        with ended(again):
            feed.more(10)
            wait_for(lambda: len(place.read()) >= 80 * STREAMS, lambda: f"outputs; {again.text()[-3000:]}")
            assert again.stop() == 0, again.text()
    outputs_are(place, said_by(feed, one, new, 50))


def test_shadow_that_was_prepared_disturbs_nobody_until_it_is_promoted(place, models):
    one, two = models
    feed = feed_of(place)
    feed.more(10)
    live = daemon(place, one)
    with ended(live):
        wait_for(lambda: len(place.read()) == 10 * STREAMS, "the group's first outputs")
        shadow = Shadow(place, two, *LIVE)
        with ended(shadow.process):
            for seconds in (20, 30):  # what is prepared again is made anew
                status, text = ask(shadow, "/promote/prepare")
                assert status == 200, text
                assert json.loads(text)["instance"] == "live"
                feed.more(10)
                wait_for(lambda: len(place.read()) == seconds * STREAMS, lambda: live.text()[-2000:])  # noqa: B023
            assert shadow.process.stop() == 0, shadow.process.text()[-3000:]
        feed.more(10)
        wait_for(lambda: len(place.read()) == 40 * STREAMS, lambda: live.text()[-2000:])
        assert "lost" not in live.text()
        assert live.stop() == 0, live.text()
    outputs_are(place, feed.expected(one))


def test_old_model_goes_on_from_its_snapshots_after_a_promotion_taken_back(place, models):
    one, two = models
    feed = feed_of(place)
    feed.more(20)
    live = daemon(place, one)
    with ended(live):
        wait_for(lambda: len(place.read()) == 20 * STREAMS, "the group's first outputs")
        shadow = Shadow(place, two, *LIVE)
        with ended(shadow.process):
            assert live.stop() == 0, live.text()
            status, text = ask(shadow)
            assert status == 200, text
            feed.more(10)
            wait_for(lambda: len(place.read()) == 30 * STREAMS, "outputs of the promoted")
            assert shadow.process.stop() == 0, shadow.process.text()[-3000:]
        back = daemon(place, one)
        with ended(back):
            feed.more(10)
            wait_for(lambda: len(place.read()) == 40 * STREAMS, lambda: f"outputs; {back.text()[-3000:]}")
            assert back.stop() == 0, back.text()
    olds, news = feed.expected(one), feed.expected(two)
    outputs_are(place, [[*o[:20], *n[20:30], *o[30:]] for o, n in zip(olds, news, strict=True)])


def test_promotion_that_fails_after_the_shadow_ended_leaves_the_group_to_the_old_daemon(place, models):
    one, two = models
    feed = feed_of(place)
    feed.more(20)
    live = daemon(place, one)
    with ended(live):
        wait_for(lambda: len(place.read()) == 20 * STREAMS, "the group's first outputs")
        missing = ("--dead-letter", f"{place.tag}-nowhere")
        shadow = Shadow(place, two, *LIVE, *missing)
        with ended(shadow.process):
            assert live.stop() == 0, live.text()
            feed.more(5)
            status, text = ask(shadow)
            assert status == 500, text
            assert "nowhere" in json.loads(text)["error"]
            assert shadow.process.wait() == 1
            assert "Traceback" not in shadow.process.text()
        again = daemon(place, one)
        with ended(again):
            feed.more(5)
            wait_for(lambda: len(place.read()) == 30 * STREAMS, lambda: f"outputs; {again.text()[-3000:]}")
            assert again.stop() == 0, again.text()
    outputs_are(place, feed.expected(one))


def test_promotion_beside_a_running_daemon_is_refused_and_the_shadow_goes_on(embedded, models):
    one, _ = models
    feed = feed_of(embedded)
    feed.more(5)
    live = daemon(embedded, one)
    with ended(live):
        wait_for(lambda: len(embedded.read()) == 5 * STREAMS, "the group's first outputs")
        shadow = Shadow(embedded, one, *LIVE)
        with ended(shadow.process):
            status, text = ask(shadow)
            assert status == 409, text
            assert f"pid {live.pid}" in text
            feed.more(5)
            wait_for(lambda: shadow.report()["compared"] == 5 * STREAMS, lambda: f"{shadow.report()}")
            assert live.stop() == 0, live.text()
            assert ask(shadow)[0] == 200
            assert shadow.process.stop() == 0
    outputs_are(embedded, feed.expected(one))


def test_promotion_takes_the_name_that_the_stopped_daemon_kept(embedded, models):
    one, _ = models
    feed = feed_of(embedded)
    feed.more(5)
    state = ("--state-dir", str(embedded.folder / "state"))
    live = DaemonProcess(embedded.arguments(one), embedded.folder / "live.log")
    with ended(live):
        wait_for(lambda: len(embedded.read()) == 5 * STREAMS, "the group's first outputs")
        elsewhere = Shadow(embedded, one, "--state-dir", str(embedded.folder / "elsewhere"))
        with ended(elsewhere.process):
            assert live.stop() == 0, live.text()
            status, text = ask(elsewhere, "/promote/prepare")
            assert status == 409, text
            assert "is not known" in text
            status, text = ask(elsewhere)
            assert status == 409, text
            assert "has its name in" in text
            assert elsewhere.process.stop() == 0
        shadow = Shadow(embedded, one, *state)
        with ended(shadow.process):
            prepared, status, text = ask(shadow, "/promote/prepare"), *ask(shadow)
            assert prepared[0] == status == 200, text
            assert json.loads(prepared[1])["instance"] == json.loads(text)["instance"]
            kept = (embedded.folder / "state" / f"{embedded.tag}-group" / "instance-0").read_text().strip()
            assert json.loads(text)["instance"] == kept
            assert shadow.process.stop() == 0


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "http://evil.example"}, {"Host": "evil.example:9464"}, {"X-Forwarded-For": "10.0.0.7"}],
    ids=["web-page", "rebound-name", "proxy"],
)
def test_promotion_asked_for_by_another_machine_is_refused(embedded, models, headers):
    one, _ = models
    feed = feed_of(embedded)
    feed.more(2)
    live = daemon(embedded, one)
    with ended(live):
        wait_for(lambda: len(embedded.read()) == 2 * STREAMS, "the group's first outputs")
        shadow = Shadow(embedded, one, *LIVE)
        with ended(shadow.process):
            assert live.stop() == 0, live.text()
            status, text = ask(shadow, headers=headers)
            assert status == 403, text
            assert ask(shadow, "/promote/now")[0] == 404
            assert shadow.ask("readyz") == b"ok\n"
            assert ask(shadow)[0] == 200
            assert shadow.process.stop() == 0


def test_stream_that_ended_beside_a_shadow_stays_ended_after_a_kill_of_the_promoted(embedded, models):
    one, two = models
    feed = feed_of(embedded)
    feed.more(10)
    first = daemon(embedded, two)  # its snapshots are kept while the other model serves
    with ended(first):
        wait_for(lambda: len(embedded.read()) == 10 * STREAMS, "the first model's outputs")
        assert first.stop() == 0, first.text()
    live = DaemonProcess(embedded.arguments(one, *LIVE, "--on-new-model", "warmup=1h"), embedded.folder / "live.log")
    with ended(live):
        feed.more(5)
        wait_for(lambda: len(embedded.read()) == 15 * STREAMS, "the second model's outputs")
        shadow = Shadow(embedded, two, *LIVE, "--snapshot-interval", "0s")
        with ended(shadow.process):
            before = shadow.report()["records"]
            embedded.feed([(0, b"s0", None)])
            wait_for(lambda: shadow.report()["records"] > before, lambda: f"the end of s0; {shadow.report()}")
            assert live.stop() == 0, live.text()
            assert ask(shadow)[0] == 200
            embedded.feed([(0, b"s4", feed.rows[4][0].tobytes())])
            wait_for(lambda: len(embedded.read()) == 15 * STREAMS + 1, "an output of the promoted")
            shadow.process.kill()
    again = daemon(embedded, two)
    row = feed.rows[0][0]
    with ended(again):
        embedded.feed([(0, b"s0", row.tobytes())])
        wait_for(lambda: len(embedded.read()) == 15 * STREAMS + 2, lambda: f"an output of s0; {again.text()[-2000:]}")
        assert again.stop() == 0, again.text()
    found = embedded.read()
    said = [value for key, value in zip(found.keys, found.values, strict=True) if key == b"s0"]
    assert said[-1] == Oracle(two.path).step("anew", row).tobytes()


def test_shadow_with_a_limit_of_streams_is_brought_back_anew_and_loses_nothing(embedded, models):
    one, _ = models
    feed = feed_of(embedded)
    feed.more(20)
    limit = ("--max-streams", "100")
    live = DaemonProcess(embedded.arguments(one, *LIVE, *limit), embedded.folder / "live.log")
    with ended(live):
        wait_for(lambda: len(embedded.read()) == 20 * STREAMS, "the group's first outputs")
        shadow = Shadow(embedded, one, *LIVE, *limit)
        with ended(shadow.process):
            feed.more(5)
            wait_for(lambda: len(embedded.read()) == 25 * STREAMS, "outputs beside the shadow")
            assert live.stop() == 0, live.text()
            assert ask(shadow)[0] == 200
            replays = [line for line in shadow.process.text().splitlines() if '"partition restored"' in line]
            assert len(replays) == 2 * PARTITIONS, "each partition is brought back twice"
            assert all(json.loads(line)["streams"] for line in replays[PARTITIONS:])
            feed.more(5)
            wait_for(lambda: len(embedded.read()) == 30 * STREAMS, "outputs of the promoted")
            assert shadow.process.stop() == 0
    outputs_are(embedded, feed.expected(one))


def test_shadow_promoted_in_a_group_of_two_takes_the_partitions_of_the_one_that_stopped(kafka_place, models):
    place, (one, two) = kafka_place, models
    feed = feed_of(place)
    feed.more(10)
    members = {
        name: DaemonProcess(place.arguments(one, "--instance", name), place.folder / f"{name}.log")
        for name in ("live", "other")
    }
    with ended(*members.values()):
        wait_for(lambda: len(place.read()) == 10 * STREAMS, "the group's first outputs")
        wait_for(lambda: all("partition ready" in m.text() for m in members.values()), "both serve")
        feed.more(10)
        wait_for(lambda: len(place.read()) == 20 * STREAMS, "outputs of both")
        shadow = Shadow(place, two, *LIVE)
        with ended(shadow.process):
            assert members["live"].stop() == 0, members["live"].text()
            feed.more(5)
            status, text = ask(shadow)
            assert status == 200, text
            feed.more(10)
            wait_for(lambda: len(place.read()) >= 35 * STREAMS, lambda: f"outputs; {shadow.process.text()[-3000:]}")
            assert shadow.process.stop() == 0, shadow.process.text()
        assert members["other"].stop() == 0, members["other"].text()
    stayed, changed = feed.expected(one), said_by(feed, one, two, 20)
    found = place.read()
    went = []
    for stream in range(STREAMS):
        mine = [v for k, v in zip(found.keys, found.values, strict=True) if k == b"s%d" % stream]
        assert mine in (stayed[stream], changed[stream]), f"stream {stream}: {len(mine)} outputs"
        went.append(mine == changed[stream])
    assert set(went) == {True, False}, "each of the two serves some partitions"
