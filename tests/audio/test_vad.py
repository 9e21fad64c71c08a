"""Voice activity from samples to scores and segments: pieces of any length, snapshots, replay."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import orjson
import pytest

from edge_rnn.cli.main import run
from edge_rnn.contract.bundle import Bundle
from runtime.codecs.registry import make_decoder, make_encoder
from runtime.core.processor import Processor, ProcessorSettings
from runtime.core.scheduler import LEAST_STEPS
from runtime.daemon.audio import make_sound
from runtime.engines.cpu import open_cpu_engine
from tests.audio.plain_vad import HOP, plain_segments, probabilities, samples_of
from tests.audio.speech import make_speech
from tests.runtime.records import batch_of

RULES = "segments:on=0.5,off=0.35,min-speech=256ms,min-silence=96ms,pad=32ms"
STEPS = {"on": 0.5, "off": 0.35, "min_speech": 8, "min_silence": 3, "pad": 1}


def test_pcm_in_pieces_of_any_length_gives_every_bit_of_a_plain_loop(vad: Bundle, vad_file: Path) -> None:
    processor = Processor(
        open_cpu_engine(vad),
        make_decoder("pcm16", vad.manifest),
        make_encoder("f32", vad.manifest),
        ProcessorSettings(topic="in"),
        sound=make_sound(vad.manifest, None, "every", "json"),
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
        sound=make_sound(vad.manifest, None, "every", "json"),
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
            sound=make_sound(vad.manifest, 8000, "every", "json"),
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


def test_streams_of_a_batch_are_stepped_on_several_threads_with_the_same_bits(vad: Bundle) -> None:
    sound = {b"s%02d" % i: make_speech(1.5, seed=i).pcm for i in range(16)}
    records = [(0, key, pcm[at : at + 9000]) for at in range(0, 45000, 9000) for key, pcm in sound.items()]
    found = []
    with ThreadPoolExecutor(1) as others:
        for threads in (1, 2):
            processor = Processor(
                open_cpu_engine(vad),
                make_decoder("pcm16", vad.manifest),
                make_encoder("f32", vad.manifest),
                ProcessorSettings(topic="in", threads=threads),
                others if threads > 1 else None,
                make_sound(vad.manifest, None, "every", "f32"),
            )
            done = processor.process(batch_of(records))
            assert done.steps > 2 * LEAST_STEPS
            found.append(list(done.outputs.values))
    assert found[0] == found[1]


@pytest.mark.slow
def test_bench_of_a_model_of_sound_takes_pcm(vad: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", str(vad.path)]) == 2
    assert "use --codec pcm16" in capsys.readouterr().err
    call = ["bench", str(vad.path), "--codec", "pcm16", "--records", "2000", "--streams", "50", "--json"]
    assert run(call) == 0
    report = orjson.loads(capsys.readouterr().out)
    assert report["end_to_end"]["records"] == 2000
    assert [figures["codec"] for figures in report["codecs"]] == ["pcm16"]
    assert report["codecs"][0]["value_bytes"] == 2 * HOP
