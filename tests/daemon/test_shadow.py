"""A shadow beside a group: it compares every output, and nobody but its reader sees it."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from edge_rnn.contract.bundle import Bundle
from tests.daemon.conftest import Place
from tests.daemon.feeds import Feed
from tests.daemon.processes import DaemonProcess, wait_for
from tests.models_for_tests import make_bundle

STREAMS = 8


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, Bundle]:
    folder = tmp_path_factory.mktemp("models")
    return make_bundle(folder / "one", seed=1), make_bundle(folder / "two", seed=2)


def feed_of(place: Place) -> Feed:
    """Every fourth second comes twice, so that times repeat."""
    return Feed(place, STREAMS, lambda second: second - second // 4)


def shadow_arguments(place: Place, bundle: Bundle, *more: str) -> list[str]:
    return [
        str(bundle.path),
        *("--input", place.topic("in"), "--output", place.topic("out"), "--shadow", f"{place.tag}-group"),
        *("--broker", place.url, "--client", place.client, "--codec", "f32", "--http", "127.0.0.1:0", *more),
    ]


class Shadow:
    """A shadow as a process, asked over HTTP."""

    def __init__(self, place: Place, bundle: Bundle, *more: str) -> None:
        self.process = DaemonProcess(
            shadow_arguments(place, bundle, "--log-format", "json", *more), place.folder / "shadow.log"
        )
        self.port = 0
        wait_for(self._ready, lambda: f"the shadow is ready; {self.process.text()[-2000:]}")

    def _ready(self) -> bool:
        for line in self.process.text().splitlines():
            if '"observing"' in line:
                self.port = json.loads(line)["port"]
        try:
            return bool(self.port) and self.ask("readyz") == b"ok\n"
        except OSError:
            return False

    def ask(self, route: str) -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/{route}", timeout=5) as answer:
            return bytes(answer.read())

    def report(self) -> dict[str, float]:
        return dict(json.loads(self.ask("shadow")))

    def stop(self) -> dict[str, float]:
        """The report that it prints at its end."""
        assert self.process.stop() == 0, self.process.text()[-2000:]
        return dict(json.loads(self.process.text().splitlines()[-1]))


def daemon(place: Place, bundle: Bundle) -> DaemonProcess:
    return DaemonProcess(place.arguments(bundle, "--instance", "live"), place.folder / "live.log")


def compared(shadow: Shadow, count: int) -> None:
    wait_for(lambda: shadow.report()["compared"] >= count, lambda: f"{count} compared; {shadow.report()}")


def test_shadow_of_the_same_model_agrees_bit_for_bit_from_the_middle_of_a_stream(place, models):
    one, _ = models
    feed = feed_of(place)
    feed.more(20)
    live = daemon(place, one)
    shadow = None
    try:
        wait_for(lambda: len(place.read()) == 20 * STREAMS, "the group's first outputs")
        shadow = Shadow(place, one)
        feed.more(30)
        compared(shadow, 30 * STREAMS)
        found = shadow.stop()
        assert live.stop() == 0, live.text()
    finally:
        live.close()
        if shadow is not None:
            shadow.process.close()
    assert found["compared"] == 30 * STREAMS
    assert found["identical"] == found["close"] == 1.0
    assert found["only_ours"] == found["only_theirs"] == found["waiting"] == found["dead_letters"] == 0
    outputs = place.read()
    expected = feed.said(one)
    for stream in range(STREAMS):
        mine = [v for k, v in zip(outputs.keys, outputs.values, strict=True) if k == b"s%d" % stream]
        assert mine == [value.tobytes() for value in expected[stream]]


def test_shadow_of_another_model_warms_up_and_tells_how_far_it_is_off(place, models):
    one, two = models
    feed = feed_of(place)
    feed.more(20)
    live = daemon(place, one)
    shadow = None
    try:
        wait_for(lambda: len(place.read()) == 20 * STREAMS, "the group's first outputs")
        shadow = Shadow(place, two)
        feed.more(30)
        compared(shadow, 30 * STREAMS)
        found = shadow.stop()
        wait_for(lambda: len(place.read()) == 50 * STREAMS, "all outputs")
        assert live.stop() == 0, live.text()
    finally:
        live.close()
        if shadow is not None:
            shadow.process.close()
    olds, news = feed.said(one), feed.said(two)
    differences = [
        float(np.abs(new.astype(float) - old.astype(float)).max())
        for old_rows, new_rows in zip(olds, news, strict=True)
        for old, new in zip(old_rows[20:], new_rows[20:], strict=True)
    ]
    assert found["compared"] == len(differences)
    assert found["mean_difference"] == pytest.approx(np.mean(differences), rel=1e-6)
    assert found["largest_difference"] == pytest.approx(np.max(differences), rel=1e-6)
    assert found["close"] < 0.5
    # What the group committed goes on as if there had been no shadow.
    again = daemon(place, one)
    try:
        feed.more(5)
        wait_for(lambda: len(place.read()) == 55 * STREAMS, "outputs after the shadow")
        assert again.stop() == 0, again.text()
    finally:
        again.close()
    outputs = place.read()
    expected = feed.said(one)
    for stream in range(STREAMS):
        mine = [v for k, v in zip(outputs.keys, outputs.values, strict=True) if k == b"s%d" % stream]
        assert mine == [value.tobytes() for value in expected[stream]]


def ends(place: Place, arguments: list[str], folder: Path) -> tuple[int, str]:
    process = DaemonProcess(arguments, folder / "ends.log")
    try:
        return process.wait(), process.text()
    finally:
        process.close()


def test_shadow_of_a_group_that_never_ran_is_refused_and_makes_no_topic(place, models, tmp_path):
    status, text = ends(place, shadow_arguments(place, models[0]), tmp_path)
    assert status == 1, text
    assert f"group '{place.tag}-group' has no topic" in text
    assert "Traceback" not in text
    assert place.broker.partitions(f"{place.tag}-group-state") is None


def test_shadow_and_group_exclude_each_other(embedded, models, tmp_path):
    status, text = ends(embedded, [*shadow_arguments(embedded, models[0]), "--group", "mine"], tmp_path)
    assert status == 2, text
    assert "--group and --shadow" in text
