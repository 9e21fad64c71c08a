"""Prompts as records: what goes in and out, turns, ends, and states taken up again in the middle of a reply."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from runtime.codecs.registry import make_decoder, make_encoder
from runtime.core.batch import BY_KEY, RecordBatch
from runtime.core.generating import MOST_BYTES, MOST_CHARACTERS, MOST_WAITING, GeneratingProcessor
from runtime.core.generation import Request
from runtime.core.philox import stream_number
from runtime.core.processor import ProcessorSettings
from runtime.core.sampling import Sampling
from runtime.daemon.generate import generator_on, open_generator
from runtime.engines.cpu import open_cpu_engine
from tests.runtime.test_generation import bundle, translator

__all__ = ["bundle", "translator"]

STREAMS = 20
LIVE = range(4)


def processor(bundle, **settings) -> GeneratingProcessor:
    engine = open_cpu_engine(bundle)
    codecs = (make_decoder("json", bundle.manifest), make_encoder("json", bundle.manifest))
    return GeneratingProcessor(engine, generator_on(engine, bundle), *codecs, ProcessorSettings("in", **settings))


def records(*found: tuple[int, int, str, object]) -> RecordBatch:
    """``(partition, offset, key, value)``: a value that is not bytes or ``None`` is written as JSON."""
    partitions, offsets, keys, values = zip(*found, strict=True)
    return RecordBatch(
        np.array(partitions, np.int32),
        np.array(offsets, np.int64),
        1000 + np.array(offsets, np.int64),
        [key.encode() for key in keys],
        [one if one is None or isinstance(one, bytes) else msgspec.json.encode(one) for one in values],
        {},
    )


def run_on(processor: GeneratingProcessor, partitions=LIVE) -> list[tuple[bytes, dict]]:
    """Every token record until all replies are done."""
    found = []
    while (processed := processor.advance(partitions, 0.0)) is not None:
        found += read(processed)
    return found


def read(processed) -> list[tuple[bytes, dict]]:
    outputs = processed.outputs
    return [(key, msgspec.json.decode(value)) for key, value in zip(outputs.keys, outputs.values, strict=True)]


def alone(bundle, partition: int, key: str, turns: list[tuple[int, Request]]) -> list[dict]:
    """The values of one stream's token records, that stream and those prompts by themselves."""
    generator = open_generator(bundle, 1)
    for offset, request in turns:
        generator.submit(0, stream_number(partition, key.encode()), request, offset)
    found = []
    while generator.busy:
        found += [
            {
                "prompt": p.offset,
                "text": p.text,
                "final": p.reason is not None,
                **({"reason": p.reason} if p.reason else {}),
            }
            for p in generator.advance()
        ]
    return found


def asked(i: int, turn: int) -> dict[str, object]:
    return {"prompt": "abc"[: i % 4], "seed": i, "tokens": 15 + turn, "stop": ["ab"], "temperature": 0.5 + turn}


def request_of(value: dict) -> Request:
    sampling = Sampling(seed=value["seed"], temperature=value["temperature"])
    return Request(prompt=value["prompt"], tokens=value["tokens"], stop=tuple(value["stop"]), sampling=sampling)


def by_key(found) -> dict[bytes, list[dict]]:
    said: dict[bytes, list[dict]] = {}
    for key, value in found:
        said.setdefault(key, []).append(value)
    return said


@pytest.mark.parametrize("which", ["bundle", "translator"])
def test_prompts_when_many_come_together_then_each_stream_says_what_it_says_alone(which, request):
    bundle = request.getfixturevalue(which)
    one = processor(bundle)
    said = []
    for turn in (0, 1):
        prompts = [(i % 4, 10 * i + turn, f"s{i}", asked(i, turn)) for i in range(STREAMS)]
        assert one.process(records(*prompts)).errors == []
        said += [piece for _ in range(3) if (p := one.advance(LIVE, 0.0)) for piece in read(p)]
    said += run_on(one)
    assert not one.busy
    for i in range(STREAMS):
        turns = [(10 * i + turn, request_of(asked(i, turn))) for turn in (0, 1)]
        assert by_key(said)[f"s{i}".encode()] == alone(bundle, i % 4, f"s{i}", turns)


def test_tokens_when_given_then_have_the_prompt_s_key_time_and_partition(bundle):
    one = processor(bundle, headers="origin")
    one.process(records((2, 7, "a", "ab"), (3, 9, "b", "b")))
    outputs = one.advance(LIVE, 0.0).outputs
    assert (outputs.keys, outputs.partitions.tolist(), outputs.timestamps.tolist()) == (
        [b"a", b"b"],
        [2, 3],
        [1007, 1009],
    )
    assert dict(outputs.headers[1])["edge-rnn-offset"] == b"9"
    one.same_partitions = False
    assert one.advance(LIVE, 0.0).outputs.partitions.tolist() == [BY_KEY, BY_KEY]


def test_advance_when_a_partition_is_not_live_then_its_streams_wait(bundle):
    one = processor(bundle)
    one.process(records((0, 0, "a", "ab"), (1, 0, "a", "ab")))
    assert {key for key, _ in run_on(one, [1])} == {b"a"}
    assert one.busy
    assert one.advance([1], 0.0) is None
    assert run_on(one, [0])
    assert not one.busy


@pytest.mark.parametrize("which", ["bundle", "translator"])
def test_states_when_taken_up_by_another_in_the_middle_of_replies_then_it_goes_on_the_same(which, request):
    bundle = request.getfixturevalue(which)
    prompts = [(i % 4, i, f"s{i}", asked(i, 0)) for i in range(STREAMS)]
    prompts += [(i % 4, 100 + i, f"s{i}", asked(i, 1)) for i in range(STREAMS)]
    whole = processor(bundle)
    whole.process(records(*prompts))
    expected = by_key(run_on(whole))
    one, found = processor(bundle), []
    one.process(records(*prompts))
    while (processed := one.advance(LIVE, 0.0)) is not None:
        found += read(processed)
        other = processor(bundle)
        for partition in LIVE:
            slots = one.streams.slots_of(partition)
            keys = [one.streams.key_of(slot) for slot in slots.tolist()]
            columns = (one.read_states(slots), one.streams.offsets[slots], one.streams.timestamps[slots])
            other.restore(partition, keys, *columns, one.read_extras(slots))
        one = other
    assert by_key(found) == expected


def test_tombstone_when_it_comes_then_every_reply_owed_is_ended_and_the_stream_begins_anew(bundle):
    one = processor(bundle)
    one.process(records((0, 0, "a", asked(3, 0)), (0, 1, "a", asked(3, 1)), (0, 2, "b", asked(3, 0))))
    said = read(one.advance(LIVE, 0.0))
    ended = read(one.process(records((0, 3, "a", None), (0, 4, "a", asked(3, 0)), (0, 5, "none", None))))
    assert ended == [(b"a", {"prompt": n, "text": "", "final": True, "reason": "ended"}) for n in (0, 1)]
    rest = by_key(run_on(one))
    fresh = alone(bundle, 0, "a", [(4, request_of(asked(3, 0)))])
    assert rest[b"a"] == fresh
    assert [value for key, value in said if key == b"b"] + rest[b"b"] == alone(
        bundle, 0, "b", [(2, request_of(asked(3, 0)))]
    )
    assert len(one.streams) == 2


def test_drop_when_a_partition_goes_then_its_replies_go_with_it(bundle):
    one = processor(bundle)
    one.process(records((0, 0, "a", "ab"), (1, 0, "b", "ab")))
    one.streams.drop([0])
    assert {key for key, _ in run_on(one)} == {b"b"}
    one.process(records((2, 0, "c", "ab")))  # may sit where a sat
    assert {key for key, _ in run_on(one)} == {b"c"}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (b"not json", "cannot be read"),
        (b"\xff", "cannot be read"),
        (3, "is int, expected a string or an object"),
        ({"text": "a"}, "prompt"),
        ({"prompt": "a", "temprature": 1}, "temprature"),
        ({"prompt": "a", "temperature": -1}, "temperature"),
        ({"prompt": "a", "tokens": 0}, "tokens"),
        ({"prompt": "a", "stop": [""]}, "a stop is empty"),
        ({"prompt": "a", "stop": "x"}, "stop"),
        ("xyz", "'x'"),
        ("a" * (MOST_CHARACTERS + 1), "65,536"),
    ],
)
def test_prompt_when_it_cannot_be_used_then_is_a_dead_letter_and_nothing_changes(bundle, value, said):
    one = processor(bundle)
    processed = one.process(records((0, 5, "a", value)))
    (error,) = processed.errors
    assert said in error
    assert processed.dead_letters.keys == [b"a"]
    assert (len(one.streams), one.busy) == (0, False)


def test_prompts_when_too_many_wait_then_the_next_is_a_dead_letter(bundle):
    one = processor(bundle)
    processed = one.process(records(*((0, i, "a", "ab") for i in range(MOST_WAITING + 1))))
    assert [error[:32] for error in processed.errors] == [f"the stream has {MOST_WAITING} prompts in wai"]
    assert dict(processed.dead_letters.headers[0])["edge-rnn-offset"] == str(MOST_WAITING).encode()
    finals = [value["prompt"] for _, value in run_on(one) if value["final"]]
    assert finals == list(range(MOST_WAITING))


def test_prompts_when_those_in_wait_take_too_much_then_the_next_is_a_dead_letter(bundle):
    one = processor(bundle)
    processed = one.process(records(*((0, i, "a", "a" * 60_000) for i in range(10))))
    assert [error[:46] for error in processed.errors] == ["the stream's prompts in wait would take more t"] * 4
    (slot,) = one.streams.slots_of(0)
    assert len(one.read_extras(np.array([slot]))[0]) < MOST_BYTES
