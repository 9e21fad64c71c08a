"""``edge-rnn run`` over a topic of PCM, on every transport: killed on the way, it tells what a plain loop finds."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from edge_rnn.contract.bundle import Bundle
from tests.audio.plain_vad import plain_segments, probabilities, samples_of
from tests.audio.speech import make_speech
from tests.daemon.conftest import Place
from tests.daemon.processes import DaemonProcess, wait_for

RULES = "segments:on=0.5,off=0.35,min-speech=256ms,min-silence=96ms,pad=32ms"
STEPS = {"on": 0.5, "off": 0.35, "min_speech": 8, "min_silence": 3, "pad": 1}
PIECE = 2 * 1111
"""Bytes of a record: never a whole number of windows."""


def fed(place: Place, waiting: dict[bytes, bytes], rounds: int) -> dict[bytes, bytes]:
    """Write a piece of each stream, so many times; what is left of each."""
    for _ in range(rounds):
        place.feed([(number % 4, key, pcm[:PIECE]) for number, (key, pcm) in enumerate(sorted(waiting.items()))])
        waiting = {key: pcm[PIECE:] for key, pcm in waiting.items()}
    return waiting


def killed_twice(place: Place, bundle: Bundle, sound: dict[bytes, bytes], *arguments: str, done: int) -> None:
    """Serve the sound to its last piece and until there are ``done`` outputs; killed after each third of it."""
    command = place.arguments(bundle, "--codec", "pcm16", "--commit-interval", "20ms", *arguments)
    rounds = -(-len(next(iter(sound.values()))) // PIECE)
    waiting = dict(sound)
    for turn in range(3):
        daemon = DaemonProcess(command, place.folder / f"daemon-{turn}.log")
        try:
            wait_for(lambda d=daemon: "partition ready" in d.text(), lambda d=daemon: d.text()[-2000:])
            before = len(place.read())
            waiting = fed(place, waiting, rounds // 3 if turn < 2 else rounds - 2 * (rounds // 3))
            wanted = done if turn == 2 else before + 1
            wait_for(lambda n=wanted: len(place.read()) >= n, lambda d=daemon: d.text()[-2000:])
            assert daemon.alive(), daemon.text()[-2000:]
            if turn == 2:
                assert daemon.stop() == 0, daemon.text()[-2000:]
        finally:
            daemon.close()  # SIGKILL, if it still runs
    assert not any(waiting.values())
    assert not len(place.read("dead"))


def outputs_of(place: Place) -> dict[bytes, list[bytes]]:
    """Output values of each stream, in order."""
    found: dict[bytes, list[bytes]] = {}
    records = place.read()
    for key, value in zip(records.keys, records.values, strict=True):
        found.setdefault(key or b"", []).append(value or b"")
    return found


def speeches(count: int, seconds: float) -> dict[bytes, bytes]:
    return {b"mic-%d" % i: make_speech(seconds, seed=20 + i).pcm for i in range(count)}


@pytest.mark.slow
def test_segments_of_a_topic_of_pcm_are_told_once_when_the_daemon_is_killed(
    place: Place, vad: Bundle, vad_file: Path
) -> None:
    sound = speeches(6, 12)
    segments = {key: plain_segments(probabilities(vad_file, samples_of(pcm)), **STEPS) for key, pcm in sound.items()}
    expected: dict[bytes, list[tuple[str, float, float | None]]] = {}
    for key, pairs in segments.items():
        told = expected.setdefault(key, [])
        for begin, end in pairs:
            told.append(("start", round(begin * 0.032, 6), None))
            if end is not None:
                told.append(("end", round(begin * 0.032, 6), round(end * 0.032, 6)))
    assert min(map(len, expected.values())) >= 4
    killed_twice(place, vad, sound, "--emit", RULES, done=sum(map(len, expected.values())))
    found = {
        key: [(e["event"], e["start"], e.get("end")) for value in values for e in orjson.loads(value)["segments"]]
        for key, values in outputs_of(place).items()
    }
    assert found == expected


@pytest.mark.slow
def test_scores_of_a_topic_of_pcm_are_the_bits_of_a_plain_loop_when_the_daemon_is_killed(
    place: Place, vad: Bundle, vad_file: Path
) -> None:
    sound = speeches(5, 6)
    records = {key: [len(pcm[at : at + PIECE]) // 2 for at in range(0, len(pcm), PIECE)] for key, pcm in sound.items()}
    windows = {key: _windows_by_record(sizes) for key, sizes in records.items()}
    done = sum(count > 0 for counts in windows.values() for count in counts)
    killed_twice(place, vad, sound, "--output-codec", "f32", done=done)
    found = outputs_of(place)
    for key, pcm in sound.items():
        assert [len(value) // 4 for value in found[key]] == [count for count in windows[key] if count]
        assert b"".join(found[key]) == probabilities(vad_file, samples_of(pcm)).tobytes()


def _windows_by_record(sizes: list[int], hop: int = 512) -> list[int]:
    """How many windows each record completes."""
    totals = [sum(sizes[: i + 1]) // hop for i in range(len(sizes))]
    return [after - before for before, after in zip([0, *totals], totals, strict=False)]
