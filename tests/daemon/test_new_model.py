"""Another model under the same group: warmed up by recent input, and back again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from edge_rnn.contract.bundle import Bundle
from runtime.core.batch import RecordBatch
from tests.daemon.feeds import Feed, serve_until
from tests.daemon.processes import DaemonProcess
from tests.models_for_tests import make_bundle

STREAMS = 6


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, Bundle]:
    """Two models that say different things of the same input."""
    folder = tmp_path_factory.mktemp("models")
    return make_bundle(folder / "one", seed=1), make_bundle(folder / "two", seed=2)


def by_stream(batch: RecordBatch) -> Iterator[list[bytes | None]]:
    for stream in range(STREAMS):
        yield [v for k, v in zip(batch.keys, batch.values, strict=True) if k == b"s%d" % stream]


def test_new_model_is_warmed_up_and_the_old_one_comes_back_as_if_it_had_never_gone(place, models):
    one, two = models
    feed = Feed(place, STREAMS)
    feed.more(20)
    serve_until(place, one, 20 * STREAMS)
    feed.more(5)
    serve_until(place, two, 25 * STREAMS, "--on-new-model", "warmup=1h")
    feed.more(5)
    serve_until(place, one, 30 * STREAMS)
    feed.more(5)
    serve_until(place, two, 35 * STREAMS)  # known by now: nothing to warm up
    first, second = feed.expected(one), feed.expected(two)
    for stream, found in enumerate(by_stream(place.read())):
        parts = first[stream][:20], second[stream][20:25], first[stream][25:30], second[stream][30:]
        assert found == [value for part in parts for value in part]


def test_warm_up_takes_as_much_input_as_asked_and_outputs_say_which_model_made_them(embedded, models):
    one, two = models
    feed = Feed(embedded, STREAMS)
    feed.more(20)
    serve_until(embedded, one, 20 * STREAMS, "--headers", "model")
    feed.more(3)
    serve_until(embedded, two, 23 * STREAMS, "--on-new-model", "warmup=4s")
    batch = embedded.read()
    warm = feed.expected(two, since=15)  # the newest record before the swap is of second 19
    for stream, found in enumerate(by_stream(batch)):
        assert found[20:] == warm[stream][5:]
    makers = [dict(headers)["edge-rnn-model"].decode() for headers in batch.headers or []]
    first, second = (f"{bundle.manifest.name}@" for bundle in models)
    by_name = [maker.partition("@")[0] + "@" for maker in makers]
    assert len(set(makers)) == 2
    assert by_name.count(first) == 20 * STREAMS
    assert by_name.count(second) == 3 * STREAMS


def test_warm_up_killed_again_and_again_ends_with_the_same_bits(embedded, models):
    one, two = models
    feed = Feed(embedded, STREAMS)
    feed.more(20)
    serve_until(embedded, one, 20 * STREAMS)
    feed.more(5)
    for point in ("restored:2", "polled:3", "snapshots-sent:1", "before-commit:1", "committed:1"):
        environment = {"EDGE_RNN_FAIL_POINT": point}
        daemon = DaemonProcess(
            embedded.arguments(two, "--on-new-model", "warmup=1h"), embedded.folder / "killed", environment
        )
        try:
            assert daemon.wait() != 0, daemon.text()
        finally:
            daemon.close()
    feed.more(5)
    serve_until(embedded, two, 30 * STREAMS, "--on-new-model", "warmup=1h")
    expected = feed.expected(two)
    for stream, found in enumerate(by_stream(embedded.read())):
        assert found[20:] == expected[stream][20:]
