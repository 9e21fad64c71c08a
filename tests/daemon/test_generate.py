"""``run --mode generate``: kill the daemon in the middle of replies, and every token is there once, the right one."""

from __future__ import annotations

import random
import time

import msgspec
import pytest

from runtime.codecs.prompts import decode_prompt, encode_piece
from runtime.core.batch import RecordBatch
from runtime.core.philox import stream_number
from runtime.daemon.generate import open_generator
from tests.daemon.conftest import _place
from tests.daemon.processes import DaemonProcess, wait_for
from tests.runtime.test_generation import language

STREAMS, TURNS, KILLS = 12, 3, 2
MODE = ("--mode", "generate", "--codec", "json")


@pytest.fixture(scope="module")
def talker(tmp_path_factory):
    """A model of characters that hardly ever ends a reply by itself."""
    return language(tmp_path_factory.mktemp("generate") / "text", "gru", reluctance=40.0)


def prompt(i: int, turn: int, tokens: int) -> bytes:
    """Some sampled, some not, some with a stop."""
    sampling = {"temperature": (0.0, 0.8, 1.3)[i % 3], "top_k": (0, 0, 4, 0)[i % 4], "seed": i}
    stop = ["abab"] if turn == 1 and i % 2 else []
    return msgspec.json.encode({"prompt": "abcdefgh"[: 1 + i % 5], **sampling, "tokens": tokens, "stop": stop})


Turns = list[tuple[int, bytes]]
"""Prompts with their offsets."""


def expected_of(bundle, streams: dict[bytes, tuple[int, Turns]]) -> dict[bytes, list[bytes]]:
    """The values of every stream's token records, given its partition and its prompts: no broker, nothing killed.

    That a stream says the same alone and among others is shown in `tests.runtime.test_generation`.
    """
    generator = open_generator(bundle, len(streams))
    for slot, (key, (partition, turns)) in enumerate(streams.items()):
        for offset, value in turns:
            generator.submit(slot, stream_number(partition, key), decode_prompt(value), offset)
    found: dict[bytes, list[bytes]] = {key: [] for key in streams}
    keys = list(streams)
    while generator.busy:
        for piece in generator.advance():
            found[keys[piece.slot]].append(encode_piece(piece))
    return found


def said(batch: RecordBatch) -> dict[bytes, list[bytes]]:
    found: dict[bytes, list[bytes]] = {}
    for key, value in zip(batch.keys, batch.values, strict=True):
        found.setdefault(key or b"", []).append(value or b"")
    return found


def feed(place, turn: int, tokens: int) -> dict[bytes, bytes]:
    prompts = {b"s%d" % i: prompt(i, turn, tokens) for i in range(STREAMS)}
    place.feed([(i % 4, key, value) for i, (key, value) in enumerate(prompts.items())])
    return prompts


def turns_of(place) -> dict[bytes, tuple[int, Turns]]:
    """Every stream's partition and prompts with their offsets, as they stand in the input."""
    batch = place.read("in")
    found: dict[bytes, tuple[int, Turns]] = {}
    columns = (batch.partitions.tolist(), batch.offsets.tolist(), batch.keys, batch.values)
    for partition, offset, key, value in zip(*columns, strict=True):
        found.setdefault(key or b"", (partition, []))[1].append((offset, value or b""))
    return found


def complete(place, bundle, but: tuple[bytes, ...] = ()) -> dict[bytes, list[bytes]]:
    """What every stream must have said in the end, ``but`` these."""
    return expected_of(bundle, {key: one for key, one in turns_of(place).items() if key not in but})


def test_every_token_is_there_once_when_the_daemon_is_killed_in_the_middle_of_replies(place, talker, tmp_path):
    moments = random.Random(5)
    arguments = place.arguments(talker, *MODE, "--commit-interval", "20ms")
    feed(place, 0, 300)
    daemon = DaemonProcess(arguments, tmp_path / "daemon-0.log")
    cut = 0
    try:
        for start in range(1, KILLS + 1):
            before = len(place.read())
            wait_for(lambda b=before, d=daemon: len(place.read()) > b, lambda d=daemon: f"tokens; {d.text()[-2000:]}")
            if start < TURNS:
                feed(place, start, 300)  # waits in the queues, behind the reply in progress
            time.sleep(moments.uniform(0, 0.2))
            assert daemon.alive(), daemon.text()[-2000:]
            daemon.close()
            finals = sum(b'"final":true' in (value or b"") for value in place.read().values)
            cut += finals < len(place.read("in"))
            daemon = DaemonProcess(arguments, tmp_path / f"daemon-{start}.log")
        expected = complete(place, talker)
        total = sum(map(len, expected.values()))
        wait_for(lambda: len(place.read()) >= total, lambda: f"{total} tokens; {daemon.text()[-2000:]}")
        assert daemon.stop() == 0, daemon.text()[-2000:]
    finally:
        daemon.close()
    assert cut == KILLS  # each kill was in the middle of replies
    assert said(place.read()) == expected
    assert sum(b'"final":true' in value for values in expected.values() for value in values) == STREAMS * TURNS


@pytest.mark.parametrize("point", ["advanced:40", "sent:1", "snapshots-sent:3", "before-commit:3", "committed:3"])
def test_every_token_is_there_once_when_the_daemon_dies_at_a_step(embedded, talker, tmp_path, point):
    feed(embedded, 0, 400)  # several commits long
    arguments = embedded.arguments(talker, *MODE, "--commit-interval", "5ms")
    died = DaemonProcess(arguments, tmp_path / "died.log", {"EDGE_RNN_FAIL_POINT": point})
    try:
        assert died.wait() == -9, died.text()[-2000:]
    finally:
        died.close()
    feed(embedded, 1, 60)
    expected = complete(embedded, talker)
    daemon = DaemonProcess(arguments, tmp_path / "daemon.log")
    try:
        total = sum(map(len, expected.values()))
        wait_for(lambda: len(embedded.read()) >= total, lambda: f"{total} tokens; {daemon.text()[-2000:]}")
        assert daemon.stop() == 0
    finally:
        daemon.close()
    assert said(embedded.read()) == expected


def test_a_reply_in_progress_when_the_daemon_is_stopped_then_goes_on_at_the_next_start(embedded, talker, tmp_path):
    feed(embedded, 0, 1200)
    embedded.feed([(0, b"bad", b'"xyz"'), (0, b"gone", prompt(0, 0, 10**9)), (0, b"gone", None)])
    expected = complete(embedded, talker, but=(b"bad", b"gone"))
    seen = 0
    for start in (0, 1):
        daemon = DaemonProcess(embedded.arguments(talker, *MODE), tmp_path / f"{start}.log")
        try:
            total = sum(map(len, expected.values())) + 1 if start else 1
            wait_for(lambda n=total: len(embedded.read()) >= n, lambda d=daemon: d.text()[-2000:])
            began = time.monotonic()
            assert daemon.stop() == 0, daemon.text()[-2000:]
            assert time.monotonic() - began < 20
        finally:
            daemon.close()
        if not start:
            seen = len(embedded.read())
    found = said(embedded.read())
    assert seen < sum(map(len, expected.values()))
    assert msgspec.json.decode(found.pop(b"gone")[-1])["reason"] == "ended"
    assert found == expected
    dead = embedded.read("dead")
    assert (dead.keys, dead.values) == ([b"bad"], [b'"xyz"'])
    assert b"'x'" in dict(dead.headers[0])["edge-rnn-error"]


def test_prompts_when_they_come_while_others_are_replied_to_then_are_answered_meanwhile(embedded, talker, tmp_path):
    daemon = DaemonProcess(embedded.arguments(talker, *MODE), tmp_path / "daemon.log")
    try:
        embedded.feed([(0, b"long", prompt(1, 0, 100_000))])
        wait_for(lambda: len(embedded.read()) > 0, lambda: daemon.text()[-2000:])
        embedded.feed([(1, b"short", prompt(1, 0, 5))])
        wait_for(lambda: len(said(embedded.read()).get(b"short", [])) == 5, lambda: daemon.text()[-2000:])
        assert not any(b'"final":true' in value for value in said(embedded.read())[b"long"])
        assert daemon.stop() == 0
    finally:
        daemon.close()


@pytest.mark.parametrize(
    ("more", "line"),
    [
        (["--codec", "f32"], "--codec f32"),
        (["--delivery", "at-least-once"], "--delivery at-least-once"),
        (["--idle-reset", "5s"], "--idle-reset"),
        (["--max-streams", "5"], "--max-streams"),
        (["--on-new-model", "warmup=5s"], "--on-new-model warmup"),
        (["--shadow", "g"], "--shadow"),
    ],
)
def test_run_when_a_setting_does_not_go_with_generation_then_exits_2_with_one_line(capsys, talker, more, line):
    from edge_rnn.cli.main import run

    assert run(["run", str(talker.path), "--input", "a", "--output", "b", "--mode", "generate", *more]) == 2
    err = capsys.readouterr().err
    assert line in err
    assert err.count("\n") == 1


def test_run_when_the_bundle_does_not_generate_then_says_so(capsys, bundle, tmp_path):
    from edge_rnn.cli.main import run

    call = ["run", str(bundle.path), "--input", "a", "--output", "b", "--mode", "generate"]
    call += ["--broker", f"sqlite:{tmp_path / 's'}", "--create-topics", "--state-dir", str(tmp_path)]
    assert run(call) == 2
    assert "does not generate" in capsys.readouterr().err


def test_a_step_s_daemon_when_it_finds_a_generating_group_s_states_then_refuses(embedded, talker, tmp_path):
    feed(embedded, 0, 5)
    daemon = DaemonProcess(embedded.arguments(talker, *MODE), tmp_path / "daemon.log")
    try:
        wait_for(lambda: len(embedded.read()) > 0, lambda: daemon.text()[-2000:])
        assert daemon.stop() == 0
        daemon.close()
        daemon = DaemonProcess(embedded.arguments(talker, "--codec", "json"), tmp_path / "step.log")
        assert daemon.wait() == 1
        assert "other settings" in daemon.text()
    finally:
        daemon.close()


@pytest.mark.kafka
def test_a_reply_in_progress_when_its_partition_goes_to_another_member_then_goes_on_there(request, talker, tmp_path):
    place = next(_place("confluent", request, tmp_path))
    keys = [b"s%d" % i for i in range(4)]
    place.feed([(i, key, prompt(i, 0, 10**6)) for i, key in enumerate(keys)])
    arguments = [*place.arguments(talker, *MODE), "--leave", "--instance"]
    first = DaemonProcess([*arguments, "first"], tmp_path / "first.log")
    second = None

    def grows(daemon: DaemonProcess, logs: str) -> None:
        counts = {key: len(values) for key, values in said(place.read()).items()}
        wait_for(
            lambda: all(len(said(place.read()).get(key, [])) > counts.get(key, 0) for key in keys),
            lambda: f"{logs}: {counts}; {daemon.text()[-2000:]}",
        )

    try:
        grows(first, "alone")
        second = DaemonProcess([*arguments, "second"], tmp_path / "second.log")
        wait_for(lambda: "partition ready" in second.text(), lambda: second.text()[-2000:])
        grows(second, "two")
        assert "partitions revoked" in first.text()
        assert first.stop() == 0, first.text()[-2000:]
        grows(second, "the other")
        place.feed([(i, key, None) for i, key in enumerate(keys)])
        wait_for(lambda: sum(b"ended" in (v or b"") for v in place.read().values) == 4, lambda: second.text()[-2000:])
        assert second.stop() == 0, second.text()[-2000:]
    finally:
        first.close()
        if second is not None:
            second.close()
    found = said(place.read())
    place.broker.close()
    generator = open_generator(talker, 4)
    for i, key in enumerate(keys):
        generator.submit(i, stream_number(i, key), decode_prompt(prompt(i, 0, 10**6)), 0)
    expected: dict[bytes, list[bytes]] = {key: [] for key in keys}
    while any(len(expected[key]) < len(found[key]) - 1 for key in keys):
        for piece in generator.advance():
            expected[keys[piece.slot]].append(encode_piece(piece))
    for key in keys:
        assert b"ended" in found[key].pop()
        assert found[key] == expected[key][: len(found[key])]


def test_state_tools_when_a_reply_is_in_progress_then_show_its_state_and_drop_it(embedded, talker, tmp_path, capsys):
    from edge_rnn.cli.main import run

    embedded.feed([(0, b"long", prompt(1, 0, 10**6))])
    group = ["--group", f"{embedded.tag}-group", "--broker", embedded.url]
    for start, wanted in enumerate((1, 5)):
        before = len(embedded.read())
        daemon = DaemonProcess(embedded.arguments(talker, *MODE), tmp_path / f"{start}.log")
        try:
            wait_for(lambda n=before + wanted: len(embedded.read()) >= n, lambda d=daemon: d.text()[-2000:])
            assert daemon.stop() == 0
        finally:
            daemon.close()
        if start:
            break
        assert run(["state", "show", "long", *group, "--bundle", str(talker.path), "--mode", "generate", "--json"]) == 0
        (shown,) = msgspec.json.decode(capsys.readouterr().out)
        assert shown["key"] == "long"
        assert len(shown["states"]) == len(talker.manifest.states)
        assert run(["state", "drop", "long", "--yes", *group]) == 0
        embedded.feed([(0, b"long", prompt(1, 0, 5))])
    values = said(embedded.read())[b"long"]
    assert values[-5:] == expected_of(talker, {b"long": (0, [(1, prompt(1, 0, 5))])})[b"long"]
    assert msgspec.json.decode(values[-6])["prompt"] == 0
