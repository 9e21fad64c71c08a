"""Segments told stream by stream are those of the whole score, whatever the batches, also after a restore."""

from __future__ import annotations

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_rnn.contract.errors import UsageError
from edge_rnn.contract.framing import Framing
from edge_rnn.contract.signature import OutputSpec
from runtime.core.pieces import Pieces
from runtime.core.segments import SegmentRules, Segments, parse_emit
from tests.audio.plain_vad import plain_segments
from tests.contract.bundles import MANIFEST

SCORE = OutputSpec(name="p", dtype="float32", shape=("batch", 1), axes=("batch", "feature"), kind="probabilities")
LEVELS = st.lists(st.sampled_from([0.05, 0.3, 0.4, 0.6, 0.95]), min_size=1, max_size=80)


def told_of(events: list[dict], opened: list) -> None:
    for event in events:
        if event["event"] == "start":
            opened.append((event["start"], None))
        else:
            assert opened[-1] == (event["start"], None)
            opened[-1] = (event["start"], event["end"])


@settings(max_examples=150, deadline=None)
@given(
    st.lists(LEVELS, min_size=1, max_size=3),
    st.integers(1, 5),
    st.integers(1, 4),
    st.integers(0, 4),
    st.integers(0, 99),
)
def test_segments_are_those_of_the_whole_score(
    scores: list[list[float]], min_speech: int, min_silence: int, pad: int, seed: int
) -> None:
    rules = SegmentRules(0.5, 0.35, min_speech, min_silence, min(pad, min_silence))
    rng = np.random.default_rng(seed)
    policy = Segments(rules, SCORE)
    found: list[list] = [[] for _ in scores]
    at = [0] * len(scores)
    while any(position < len(score) for position, score in zip(at, scores, strict=True)):
        records = []
        for _ in range(int(rng.integers(1, 6))):
            slot = int(rng.integers(0, len(scores)))
            part = scores[slot][at[slot] : at[slot] + int(rng.integers(0, 5))]
            at[slot] += len(part)
            records.append((slot, part))
        lengths = np.array([len(part) for _, part in records])
        rows = np.array([value for _, part in records for value in part], np.float32)[:, None]
        slots = np.array([slot for slot, _ in records])
        told = policy.follow(Pieces(rows, slots, np.cumsum(lengths) - lengths, lengths))
        for record, value in sorted(told.items()):
            told_of(orjson.loads(value)["segments"], found[records[record][0]])
        everyone = np.arange(len(scores))
        saved = policy.table.read(everyone)
        policy = Segments(rules, SCORE)
        policy.table.write(everyone, saved)
    for slot, score in enumerate(scores):
        expected = plain_segments(
            np.array(score), on=0.5, off=0.35, min_speech=min_speech, min_silence=min_silence, pad=rules.pad
        )
        assert found[slot] == expected


def test_segments_of_a_class_follow_its_share() -> None:
    output = OutputSpec(
        name="y",
        dtype="float32",
        shape=("time", "batch", 3),
        axes=("time", "batch", "class"),
        kind="logits",
        labels=("rest", "walk", "fall"),
    )
    policy = Segments(SegmentRules(0.5, 0.4, 2, 1, 0, label="fall"), output)
    logits = np.zeros((6, 3), np.float32)
    logits[1:4, 2] = 5.0
    told = policy.follow(Pieces(logits, np.zeros(6, np.int64), np.arange(6), np.ones(6, np.int64)))
    assert {record: orjson.loads(value)["segments"] for record, value in told.items()} == {
        2: [{"event": "start", "start": 1}],
        4: [{"event": "end", "start": 1, "end": 4}],
    }


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("often", "expected every or segments:"),
        ("segments:on=high", "could not convert"),
        ("segments:on=0.3,off=0.5", "is above on=0.3"),
        ("segments:loud=1", "'loud' is unknown"),
        ("segments:pad=9,min-silence=4", "would reach into the next segment"),
        ("segments:min-speech=250ms", "give a number of steps"),
        ("segments", "give label= one of 0, 1, 2"),
    ],
)
def test_emit_that_does_not_fit_says_what_does(text: str, told: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_emit(text, MANIFEST)
    assert told in str(refused.value)


def test_emit_counts_durations_in_steps_of_the_framing() -> None:
    import msgspec

    manifest = msgspec.structs.replace(MANIFEST, framing=Framing(hop=512, context=64, rate=16000), outputs=(SCORE,))
    assert parse_emit("every", manifest) is None
    rules = parse_emit("segments:min-speech=320ms,pad=2", manifest)
    assert rules is not None
    assert (rules.min_speech, rules.pad, rules.step_s) == (10, 2, 0.032)
