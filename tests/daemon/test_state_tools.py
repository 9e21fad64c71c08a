"""``edge-rnn state``: what a group keeps is shown while it runs, and dropped so that all goes on in a defined way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from edge_rnn.cli.main import run
from edge_rnn.contract.bundle import Bundle
from edge_rnn.contract.errors import StateError
from runtime.checkpoint.dropping import drop_all, drop_stream
from runtime.core.batch import Outgoing
from runtime.daemon.state_tools import StateSettings, StateTools
from tests.daemon.conftest import PARTITIONS, Place
from tests.daemon.processes import DaemonProcess, wait_for
from tests.models_for_tests import make_bundle
from tests.oracle import Oracle

ONE = np.ones(3, "<f4")
STAMP_MS = 1_700_000_000_000
SHORT_SESSION = '[kafka]\n"session.timeout.ms" = 6000\n'


class Told:
    """What a call of the command printed, and its exit status."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err
        self.error = next((line for line in err.splitlines() if line.startswith("edge-rnn: ")), "")


class Operator:
    """Calls ``edge-rnn state`` for a place's group."""

    def __init__(self, place: Place, capsys: pytest.CaptureFixture[str]) -> None:
        self._place, self._capsys = place, capsys

    def __call__(self, command: str, *arguments: str) -> Told:
        where = ("--group", f"{self._place.tag}-group", "--broker", self._place.url, "--client", self._place.client)
        self._capsys.readouterr()
        status = run(["state", command, *arguments, *where])
        return Told(status, *self._capsys.readouterr())

    def inventory(self) -> list[dict[str, Any]]:
        told = self("list", "--streams", "--json")
        assert told.status == 0, told.err
        found: list[dict[str, Any]] = json.loads(told.out)["partitions"]
        return found


@pytest.fixture
def state(place: Place, capsys: pytest.CaptureFixture[str]) -> Operator:
    return Operator(place, capsys)


@contextmanager
def daemon(place: Place, bundle: Bundle, *more: str, leave: bool = True) -> Iterator[DaemonProcess]:
    """One that leaves its group at the end, unless it is killed before."""
    more = (*more, "--leave") if leave else more
    process = DaemonProcess(place.arguments(bundle, *more), place.folder / "daemon.log")
    try:
        yield process
        if process.alive():
            assert process.stop() == 0, process.text()[-2000:]
    finally:
        process.close()


def feed(place: Place, *keys: bytes) -> None:
    """A row of ones for each of these streams, in partition 0."""
    place.broker.write(
        place.topic("in"),
        Outgoing(np.zeros(len(keys), np.int32), np.full(len(keys), STAMP_MS), list(keys), [ONE.tobytes()] * len(keys)),
    )


def outputs(place: Place, count: int, process: DaemonProcess) -> list[tuple[bytes | None, bytes | None]]:
    """The key and value of each output, once there are this many."""
    wait_for(lambda: len(place.read()) >= count, lambda: f"{count} outputs; {process.text()[-2000:]}")
    batch = place.read()
    return list(zip(batch.keys, batch.values, strict=True))


def said(bundle: Bundle, *streams: str) -> list[bytes]:
    """What the model says to a row of ones for each of these streams, one after the other."""
    oracle = Oracle(bundle.path)
    return [oracle.step(stream, ONE).tobytes() for stream in streams]


def test_states_are_listed_and_shown_by_name_while_the_daemon_runs(place, bundle, state, tmp_path):
    feed(place, b"a", b"b", b"a")
    with daemon(place, bundle, "--snapshot-interval", "0") as process:
        outputs(place, 3, process)
        wait_for(lambda: len(state.inventory()[0]["streams"]) == 2, "both snapshots")
        told = state("list", "--json")
        found = json.loads(told.out)
        assert len(found["members"]) == 1
        assert found["input"] == place.topic("in")
        assert len(found["partitions"]) == PARTITIONS
        first = found["partitions"][0]
        assert first["committed"] >= 3
        (model,) = first["fingerprints"]
        assert model["in_use"]
        assert (model["streams"], model["closed"], model["replay_from"]) == (2, 0, first["committed"])
        assert model["bytes"] == 2 * (8 + 1 + 24 + bundle.manifest.state_bytes)
        streams = {each["key"]: each for each in state.inventory()[0]["streams"]}
        assert streams["a"]["offset"] == 2
        assert streams["a"]["timestamp"] == STAMP_MS
        text = state("list", "--streams").out
        assert model["fingerprint"] in text
        assert "a  offset 2" in text

        told = state("show", "a", "--bundle", str(bundle.path), "--codec", "f32", "--json")
        (shown,) = json.loads(told.out)
        assert shown["offset"] == 2
        oracle = Oracle(bundle.path)
        for _ in range(2):
            oracle.step("a", ONE)
        for spec, expected in zip(bundle.manifest.states, oracle.states("a"), strict=True):
            values = shown["states"][spec.name]
            np.testing.assert_array_equal(np.array(values["values"], values["dtype"]), expected)
        text = state("show", "a", "--bundle", str(bundle.path), "--codec", "f32").out
        assert all(spec.name in text for spec in bundle.manifest.states)

        told = state("show", "a", "--bundle", str(make_bundle(tmp_path / "other", seed=9).path), "--codec", "f32")
        assert told.status == 1
        assert model["fingerprint"] in told.error
        assert "--codec" in told.error
        assert state("show", "nobody").status == 1


def test_drop_is_refused_while_a_daemon_runs_and_names_it(place, bundle, state):
    feed(place, b"a")
    with daemon(place, bundle, "--snapshot-interval", "0", "--instance", "device-17") as process:
        outputs(place, 1, process)
        before = state.inventory()
        told = state("drop", "a", "--yes")
        assert told.status == 1
        assert ("process" if place.url.startswith("sqlite") else "device-17") in told.error
        assert state.inventory() == before


def test_dropped_stream_begins_anew_and_no_other(place, bundle, state):
    feed(place, b"a", b"b")
    with daemon(place, bundle) as process:
        outputs(place, 2, process)
    told = state("drop", "a")
    assert (told.status, "--yes" in told.error) == (2, True)
    assert state("drop", "a", "--yes").status == 0
    (closed,) = [each for each in state.inventory()[0]["streams"] if each["closed"]]
    assert closed["key"] == "a"
    feed(place, b"a", b"b", b"a")
    with daemon(place, bundle) as process:
        found = outputs(place, 5, process)
    first_b, anew_a, second_b, second_a = said(bundle, "b", "a", "b", "a")
    assert found[1:] == [(b"b", first_b), (b"a", anew_a), (b"b", second_b), (b"a", second_a)]


def test_stream_that_is_known_from_its_input_only_is_dropped_by_partition_and_the_replay_passes_over_it(
    place, bundle, state, tmp_path
):
    config = tmp_path / "run.toml"
    config.write_text("" if place.url.startswith("sqlite") else SHORT_SESSION)
    rare = ("--snapshot-interval", "1h", "--snapshot-budget", "1", "--config", str(config))
    others = [b"other-%d" % number for number in range(20)]  # their snapshots come before those of a and b
    feed(place, *others, b"a", b"b")
    with daemon(place, bundle, *rare, leave=False) as process:
        outputs(place, 22, process)
        process.kill()
    first = state.inventory()[0]
    assert first["fingerprints"][0]["replay_from"] < 20
    assert first["committed"] >= 22
    told = state("drop", "a", "--yes", "--wait", "60s")
    assert (told.status, "--partition" in told.error) == (1, True)
    told = state("drop", "a", "--yes", "--wait", "60s", "--partition", "0")
    assert told.status == 0, told.err
    feed(place, b"a", b"b")
    with daemon(place, bundle, "--config", str(config)) as process:
        found = outputs(place, 24, process)
    assert found[22:] == [(b"a", said(bundle, "a")[0]), (b"b", said(bundle, "b", "b")[1])]


def test_all_dropped_begin_anew_at_the_committed_offset(place, bundle, state):
    feed(place, b"a", b"b")
    with daemon(place, bundle) as process:
        outputs(place, 2, process)
    told = state("drop", "--all", "--yes")
    assert told.status == 0, told.err
    assert [each for here in state.inventory() for each in here["streams"]] == []
    feed(place, b"a", b"b", b"a")
    with daemon(place, bundle) as process:
        found = outputs(place, 5, process)
    anew = said(bundle, "a", "b", "a")
    assert found[2:] == list(zip([b"a", b"b", b"a"], anew, strict=True))


def test_drop_that_was_thought_out_before_the_group_went_on_changes_nothing(place, bundle, state):
    feed(place, b"a")
    with daemon(place, bundle) as process:
        outputs(place, 1, process)
    settings = StateSettings(group=f"{place.tag}-group", broker=place.url, client=place.client)  # type: ignore[arg-type]
    with StateTools(settings) as tools:
        seen = tools.look()
        feed(place, b"a")
        with daemon(place, bundle) as process:
            outputs(place, 2, process)
        before = state.inventory()
        with pytest.raises(StateError, match="went on meanwhile"):
            tools.drop(seen, [drop_stream(seen.partitions[0], b"a")])
        assert state.inventory() == before
        tools.drop(now := tools.look(), [drop_all(here) for here in now.partitions])
    assert [each for here in state.inventory() for each in here["streams"]] == []


def test_only_a_model_that_is_not_in_use_can_be_forgotten(embedded, bundle, capsys, tmp_path):
    place, state = embedded, Operator(embedded, capsys)
    other = make_bundle(tmp_path / "other", layers=2, seed=5)
    feed(place, b"a")
    with daemon(place, bundle) as process:
        outputs(place, 1, process)
    feed(place, b"a")
    with daemon(place, other, "--on-new-model", "warmup=1h") as process:
        outputs(place, 2, process)
    new, old = (each["fingerprint"] for each in state.inventory()[0]["fingerprints"])
    told = state("drop", "--fingerprint", new, "--yes")
    assert (told.status, "in use" in told.error) == (1, True)
    assert state("drop", "--fingerprint", old, "--yes").status == 0
    (left,) = state.inventory()[0]["fingerprints"]
    assert (left["fingerprint"], left["streams"]) == (new, 1)
    feed(place, b"a")
    with daemon(place, other) as process:
        found = outputs(place, 3, process)
    assert found[2] == (b"a", said(other, "a", "a", "a")[2])
