"""Voice activity from samples to segments: replay, and a daemon that is killed on the way."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import orjson
import pytest

from edge_rnn.cli.main import run
from edge_rnn.contract.bundle import Bundle
from runtime.codecs.registry import make_decoder, make_encoder
from runtime.core.batch import BY_KEY, Outgoing
from runtime.core.processor import Processor, ProcessorSettings
from runtime.daemon.audio import make_cutters
from runtime.engines.cpu import open_cpu_engine
from runtime.transports.connect import open_broker
from tests.audio.plain_vad import HOP, plain_segments, probabilities
from tests.audio.speech import make_speech
from tests.daemon.processes import DaemonProcess, wait_for
from tests.runtime.records import batch_of

RULES = "segments:on=0.5,off=0.35,min-speech=256ms,min-silence=96ms,pad=32ms"
STEPS = {"on": 0.5, "off": 0.35, "min_speech": 8, "min_silence": 3, "pad": 1}


def samples_of(pcm: bytes) -> np.ndarray:
    return np.frombuffer(pcm, "<i2").astype(np.float32) / np.float32(32768)


def test_pcm_in_pieces_of_any_length_gives_every_bit_of_a_plain_loop(vad: Bundle, vad_file: Path) -> None:
    processor = Processor(
        open_cpu_engine(vad),
        make_decoder("pcm16", vad.manifest),
        make_encoder("f32", vad.manifest),
        ProcessorSettings(topic="in"),
        make_cutters(vad.manifest, None),
    )
    rng = np.random.default_rng(0)
    sound = {b"s%d" % i: make_speech(4, seed=i).pcm for i in range(4)}
    waiting, offsets, found = dict(sound), {}, {key: b"" for key in sound}
    while waiting:
        records = []
        for key in rng.choice(sorted(waiting), 5):
            key = bytes(key)
            if key in waiting:
                size = 2 * int(rng.choice([1, 160, 512, 777, 2000]))
                records.append((0, key, waiting[key][:size]))
                waiting[key] = waiting[key][size:]
                if not waiting[key]:
                    del waiting[key]
        outputs = processor.process(batch_of(records, offsets)).outputs
        for key, value in zip(outputs.keys, outputs.values, strict=True):
            found[key or b""] += value or b""
    for key, pcm in sound.items():
        assert found[key] == probabilities(vad_file, samples_of(pcm)).tobytes()


def test_pcm_of_an_odd_number_of_bytes_is_a_dead_letter_and_spoils_nothing(vad: Bundle) -> None:
    processor = Processor(
        open_cpu_engine(vad),
        make_decoder("pcm16", vad.manifest),
        make_encoder("json", vad.manifest),
        ProcessorSettings(topic="in"),
        make_cutters(vad.manifest, None),
    )
    hop = b"\1\0" * HOP
    done = processor.process(
        batch_of([(0, b"a", hop), (0, b"a", b"\1"), (0, b"a", b""), (0, b"a", hop), (0, b"b", b"\1\0")])
    )
    assert len(done.outputs) == 2
    assert done.errors == ["1 bytes, expected samples of 2 bytes each", "0 bytes, expected samples of 2 bytes each"]
    assert done.steps == 2


def test_snapshot_of_a_stream_holds_what_is_left_over(vad: Bundle) -> None:
    def fresh() -> Processor:
        return Processor(
            open_cpu_engine(vad),
            make_decoder("pcm16", vad.manifest),
            make_encoder("f32", vad.manifest),
            ProcessorSettings(topic="in"),
            make_cutters(vad.manifest, 8000),
        )

    pcm = make_speech(3, rate=8000).pcm
    pieces = [pcm[at : at + 700] for at in range(0, len(pcm), 700)]
    whole, offsets = fresh(), {}
    expected = [whole.process(batch_of([(0, b"a", piece)], offsets)).outputs.values for piece in pieces]
    first, second, offsets = fresh(), fresh(), {}
    half = len(pieces) // 2
    found = [first.process(batch_of([(0, b"a", piece)], offsets)).outputs.values for piece in pieces[:half]]
    slot = first.streams.find(0, b"a")
    assert slot is not None
    rows = first.read_states(np.array([slot]))
    assert rows.shape == (1, first.state_bytes)
    assert first.state_bytes > vad.manifest.state_bytes
    second.restore(0, [b"a"], rows, np.array([half - 1]), np.array([0]))
    found += [second.process(batch_of([(0, b"a", piece)], offsets)).outputs.values for piece in pieces[half:]]
    assert [list(values) for values in found] == [list(values) for values in expected]


def test_replay_of_a_wav_tells_its_phrases(vad: Bundle, vad_file: Path, tmp_path: Path) -> None:
    speech = make_speech(15, seed=1)
    path = speech.write(tmp_path / "phrases.wav")
    out = tmp_path / "segments.jsonl"
    assert run(["replay", str(vad.path), str(path), "-o", str(out), "--emit", RULES]) == 0
    events = [event for line in out.read_bytes().splitlines() for event in orjson.loads(line)["segments"]]
    ends = [event for event in events if event["event"] == "end"]
    expected = plain_segments(probabilities(vad_file, samples_of(speech.pcm)), **STEPS)
    assert [(e["start"], e["end"]) for e in ends] == [
        (round(a * 0.032, 6), round(b * 0.032, 6)) for a, b in expected if b is not None
    ]
    for begin, end in speech.phrases:  # what was made is what is found
        assert any(abs(e["start"] - begin) < 0.25 and abs(e["end"] - end) < 0.6 for e in ends), (begin, end)


def test_replay_of_another_rate_is_refused_or_brought_to_the_models(
    vad: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = make_speech(6, rate=8000, seed=2).write(tmp_path / "slow.wav")
    out = tmp_path / "out.jsonl"
    assert run(["replay", str(vad.path), str(path), "-o", str(out)]) == 2
    assert "8000 samples a second, the model takes 16000; --resample" in capsys.readouterr().err
    for flags in (["--resample"], ["--input-rate", "8000"]):
        assert run(["replay", str(vad.path), str(path), "-o", str(out), "--emit", "segments", *flags]) == 0
        events = [event for line in out.read_bytes().splitlines() for event in orjson.loads(line)["segments"]]
        assert len([event for event in events if event["event"] == "end"]) >= 2


@pytest.mark.slow
def test_daemon_killed_in_the_middle_of_a_window_tells_every_segment_once(
    vad: Bundle, vad_file: Path, tmp_path: Path
) -> None:
    broker = open_broker(f"sqlite:{tmp_path / 'store'}", "kafka-python")
    broker.create_topic("sound", 2)
    broker.create_topic("speech", 2)
    sound = {b"mic-%d" % i: make_speech(12, seed=20 + i).pcm for i in range(6)}
    waiting = dict(sound)
    arguments = [str(vad.path), "--input", "sound", "--output", "speech", "--broker", f"sqlite:{tmp_path / 'store'}"]
    arguments += ["--codec", "pcm16", "--emit", RULES, "--commit-interval", "20ms", "--state-dir", str(tmp_path)]
    daemon = DaemonProcess(arguments, tmp_path / "daemon-0.log")
    try:
        for turn in range(3):
            wait_for(lambda d=daemon: "partition ready" in d.text(), daemon.text()[-2000:])
            for _ in range(40 if turn < 2 else 10**6):
                if not waiting:
                    break
                keys = sorted(waiting)
                values = [waiting[key][:2222] for key in keys]  # 1,111 samples: never a whole number of windows
                n = len(keys)
                broker.write("sound", Outgoing(np.full(n, BY_KEY, np.int32), np.full(n, -1), list(keys), list(values)))
                waiting = {key: waiting[key][2222:] for key in keys if len(waiting[key]) > 2222}
            if turn < 2:
                daemon.close()
                daemon = DaemonProcess(arguments, tmp_path / f"daemon-{turn + 1}.log")
        expected = {
            key: [(a, b) for a, b in plain_segments(probabilities(vad_file, samples_of(pcm)), **STEPS)]
            for key, pcm in sound.items()
        }
        total = sum(1 + (end is not None) for segments in expected.values() for _, end in segments)
        reader = _events(tmp_path / "store")
        wait_for(lambda: sum(map(len, _events(tmp_path / "store").values())) >= total, daemon.text()[-2000:])
        assert daemon.stop() == 0, daemon.text()[-2000:]
        reader = _events(tmp_path / "store")
    finally:
        daemon.close()
        broker.close()
    for key, segments in expected.items():
        told = [(e["event"], e["start"], e.get("end")) for e in reader[key]]
        wanted = []
        for begin, end in segments:
            wanted.append(("start", round(begin * 0.032, 6), None))
            if end is not None:
                wanted.append(("end", round(begin * 0.032, 6), round(end * 0.032, 6)))
        assert told == wanted


def _events(store: Path) -> dict[bytes, list[dict]]:
    """All events told so far, by stream."""
    broker = open_broker(f"sqlite:{store}", "kafka-python")
    found: dict[bytes, list[dict]] = {}
    try:
        records = broker.read("speech")
        for key, value in zip(records.keys, records.values, strict=True):
            found.setdefault(key or b"", []).extend(msgspec.json.decode(value or b"")["segments"])
    finally:
        broker.close()
    return found
