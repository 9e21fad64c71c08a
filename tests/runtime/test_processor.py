"""The core as a whole, against a plain step-by-step loop over the same graph."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from edge_rnn.contract.bundle import Bundle
from edge_rnn.contract.errors import EngineError
from edge_rnn.contract.signature import InputSpec
from exporters.export import export_bundle
from exporters.source import Source
from runtime.codecs.registry import make_decoder, make_encoder
from runtime.core.batch import BY_KEY, RecordBatch
from runtime.core.processor import Processor, ProcessorSettings
from runtime.core.scheduler import Limits
from runtime.engines.cpu import open_cpu_engine
from tests.models_for_tests import make_bundle
from tests.oracle import Oracle
from tests.runtime.records import batch_of, f32


def processor_of(bundle: Bundle, codec: str = "f32", **changes: object) -> Processor:
    return Processor(
        open_cpu_engine(bundle),
        make_decoder(codec, bundle.manifest),
        make_encoder(codec, bundle.manifest),
        ProcessorSettings(topic="in", **changes),  # type: ignore[arg-type]
        ThreadPoolExecutor(int(changes["threads"]) - 1) if "threads" in changes else None,  # type: ignore[call-overload]
    )


STREAMS = st.tuples(st.integers(0, 2), st.sampled_from([b"a", b"b", b"c"]))
BATCHES = st.lists(st.lists(st.tuples(STREAMS, st.integers(0, 9)), min_size=1, max_size=20), min_size=1, max_size=4)


@settings(max_examples=30, deadline=None)
@given(BATCHES, st.sampled_from([1, 4, 64]))
def test_process_of_any_batches_equals_a_loop_step_by_step_bit_for_bit(lstm_bundle, batches, chunk):
    """A record of 0 steps is a tombstone here: the stream begins anew after it."""
    processor = processor_of(lstm_bundle, limits=Limits(chunk=chunk, steps=max(chunk, 100)))
    oracle = Oracle(lstm_bundle.path)
    rng = np.random.default_rng(0)
    offsets: dict[int, int] = {}
    for batch in batches:
        records, expected = [], []
        for (partition, key), steps in batch:
            rows = rng.standard_normal((steps, 3)).astype(np.float32)
            if steps:
                expected.append((partition, key, oracle.steps((partition, key), rows).tobytes()))
                records.append((partition, key, f32(rows)))
            else:
                oracle.end((partition, key))
                records.append((partition, key, None))
        out = processor.process(batch_of(records, offsets)).outputs
        assert list(zip(out.partitions.tolist(), out.keys, out.values, strict=True)) == expected


def test_process_of_a_deep_backlog_in_one_stream_equals_single_steps(lstm_bundle):
    rows = np.random.default_rng(3).standard_normal((500, 3)).astype(np.float32)
    deep = processor_of(lstm_bundle).process(batch_of([(0, b"k", f32(row)) for row in rows]))
    one = processor_of(lstm_bundle)
    singles = [one.process(batch_of([(0, b"k", f32(row))])).outputs.values[0] for row in rows]
    assert deep.outputs.values == singles


@pytest.mark.parametrize("threads", [2, 3])
def test_process_on_several_threads_equals_one_bit_for_bit(lstm_bundle, threads):
    rng = np.random.default_rng(5)
    several, one = processor_of(lstm_bundle, threads=threads), processor_of(lstm_bundle)
    for _ in range(4):
        keys = [b"%d" % stream for stream in rng.zipf(1.3, 700) % 90]
        values = [f32(rng.standard_normal((rng.integers(1, 5), 3))) for _ in keys]
        batch = batch_of([(0, key, b"xx" if index % 50 == 7 else values[index]) for index, key in enumerate(keys)])
        done, expected = several.process(batch), one.process(batch)
        assert done.outputs.values == expected.outputs.values
        assert done.errors == expected.errors
        slots = np.arange(len(one.streams))
        assert (several.read_states(slots) == one.read_states(slots)).all()


def test_process_on_several_threads_when_the_model_fails_in_one_raises_after_all_are_done(lstm_bundle, monkeypatch):
    processor = processor_of(lstm_bundle, threads=2)
    engine, running = processor._engine, []

    def run(slots, inputs):
        running.append(slots)
        try:
            if 0 in slots:
                raise EngineError("no memory")
            time.sleep(0.05)
            return type(engine).run(engine, slots, inputs)
        finally:
            running.pop()

    monkeypatch.setattr(engine, "run", run)
    monkeypatch.setattr(engine, "works", lambda: False)
    with pytest.raises(EngineError, match="no memory"):
        processor.process(batch_of([(0, b"%d" % index, f32(np.ones(3))) for index in range(2000)]))
    assert running == []


def test_process_of_bad_records_makes_dead_letters_that_name_their_origin(lstm_bundle):
    processor = processor_of(lstm_bundle)
    good = f32(np.ones(3))
    done = processor.process(batch_of([(0, b"a", good), (0, b"a", b"xx"), (1, None, good), (0, b"a", good)], {0: 7}))
    assert len(done.outputs) == 2
    assert done.dead_letters.keys == [b"a", None]
    assert done.dead_letters.values == [b"xx", good]
    assert done.dead_letters.partitions.tolist() == [BY_KEY, BY_KEY]
    headers = [dict(h) for h in done.dead_letters.headers or []]
    assert headers[0]["edge-rnn-offset"] == b"8"
    assert headers[0]["edge-rnn-partition"] == b"0"
    assert headers[0]["edge-rnn-topic"] == b"in"
    assert b"2 bytes" in headers[0]["edge-rnn-error"]
    assert b"no key" in headers[1]["edge-rnn-error"]
    clean = processor_of(lstm_bundle).process(batch_of([(0, b"a", good), (0, b"a", good)]))
    assert done.outputs.values == clean.outputs.values


def test_process_of_null_keys_with_a_stream_per_partition_keeps_them_apart(lstm_bundle):
    good = f32(np.ones(3))
    done = processor_of(lstm_bundle, null_key="partition").process(
        batch_of([(0, None, good), (1, None, good), (0, None, good)])
    )
    assert done.errors == []
    assert done.outputs.keys == [None, None, None]
    assert done.outputs.values[0] == done.outputs.values[1] != done.outputs.values[2]


def test_process_of_a_result_that_is_not_finite_keeps_the_last_good_state(tmp_path):
    """Input weights of 1 add three large features up beyond float32: that record dies, the others are as if alone."""

    def overflow(model):
        model.layers[0].weight_ih_l0.fill_(1.0)
        model.layers[0].weight_hh_l0.mul_(0.1)

    bundle = make_bundle(tmp_path / "relu", "elman", activation="relu", hidden=4, change=overflow)
    calm, loud = np.full(3, 0.5, np.float32), np.full(3, 3e38, np.float32)
    batch = batch_of([(0, b"a", f32(v)) for v in (calm, calm, loud, calm)] + [(0, b"b", f32(calm))] * 3)
    done = processor_of(bundle).process(batch)
    alone = processor_of(bundle).process(batch_of([(0, b"a", f32(calm))] * 3 + [(0, b"b", f32(calm))] * 3))
    assert done.outputs.values == alone.outputs.values
    assert len(done.errors) == 1
    assert "not finite" in done.errors[0]
    assert dict(done.dead_letters.headers[0])["edge-rnn-offset"] == b"2"


class Tokens(nn.Module):
    """Token numbers in, so that some inputs have no place in the model."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(10, 4)
        self.rnn = nn.GRU(4, 6)

    def forward(self, x):
        y, _ = self.rnn(self.embedding(x))
        return y


@pytest.fixture(scope="module")
def token_bundle(tmp_path_factory):
    spec = InputSpec(name="x", dtype="int64", shape=("time", "batch"), axes=("time", "batch"))
    return export_bundle(Source(Tokens(), "tokens", {}), tmp_path_factory.mktemp("tokens") / "b", inputs=[spec])


def test_process_of_a_row_on_which_the_model_fails_makes_one_dead_letter(token_bundle):
    """An index beyond the embedding fails the whole call; every other record is as if it had not been there."""
    values = [b"[3]", b"[[1],[2],[99],[4]]", b"[5]", b"[6]"]
    keys = [b"a", b"b", b"c", b"a"]
    done = processor_of(token_bundle, "json").process(batch_of(list(zip([0] * 4, keys, values, strict=True))))
    alone = processor_of(token_bundle, "json").process(
        batch_of([(0, key, value) for key, value in zip(keys, values, strict=True) if key != b"b"])
    )
    assert done.outputs.values == alone.outputs.values
    assert done.dead_letters.values == [values[1]]
    assert done.errors[0].startswith("row 2: ")


@pytest.mark.parametrize("value", [b"[3.9]", b"[1e300]"])
def test_process_of_a_number_that_is_no_integer_where_one_is_due_makes_a_dead_letter(value, token_bundle):
    done = processor_of(token_bundle, "json").process(batch_of([(0, b"a", value), (0, b"a", b"[3]")]))
    assert done.dead_letters.values == [value]
    assert "whole number" in done.errors[0]
    assert len(done.outputs) == 1


def test_process_of_an_output_beyond_the_limit_makes_a_dead_letter_and_its_stream_goes_on(lstm_bundle):
    small, large = f32(np.ones((2, 3))), f32(np.ones((40, 3)))
    records = [(0, b"a", small), (0, b"a", large), (0, b"a", small)]
    done = processor_of(lstm_bundle, max_output_bytes=100).process(batch_of(records))
    free = processor_of(lstm_bundle).process(batch_of(records))
    assert done.outputs.values == [free.outputs.values[0], free.outputs.values[2]]
    assert "321 bytes, the limit is 100" in done.errors[0]
    assert dict(done.dead_letters.headers[0])["edge-rnn-offset"] == b"1"


def test_process_with_origin_headers_names_topic_partition_and_offset(lstm_bundle):
    good = f32(np.ones(3))
    done = processor_of(lstm_bundle, headers="origin", model="m@1").process(batch_of([(2, b"a", good)], {2: 41}))
    assert done.outputs.headers == [
        [
            ("edge-rnn-topic", b"in"),
            ("edge-rnn-partition", b"2"),
            ("edge-rnn-offset", b"41"),
            ("edge-rnn-model", b"m@1"),
        ]
    ]


def test_process_with_trace_headers_passes_traceparent_on_and_nothing_else(lstm_bundle):
    batch = batch_of([(0, b"a", f32(np.ones(3)))])
    batch = RecordBatch(
        **{
            name: getattr(batch, name)
            for name in ("partitions", "offsets", "timestamps", "keys", "values", "positions")
        },
        headers=[[("traceparent", b"00-1-2-01"), ("secret", b"x")]],
    )
    done = processor_of(lstm_bundle, headers="trace").process(batch)
    names = [name for name, _ in (done.outputs.headers or [[]])[0]]
    assert names == ["edge-rnn-topic", "edge-rnn-partition", "edge-rnn-offset", "edge-rnn-model", "traceparent"]


def test_process_with_other_partitions_leaves_the_choice_to_the_transport(lstm_bundle):
    processor = processor_of(lstm_bundle)
    processor.same_partitions = False
    done = processor.process(batch_of([(2, b"a", f32(np.ones(3)))]))
    assert done.outputs.partitions.tolist() == [BY_KEY]


def copied(source: Processor, target: Processor, partition: int, keys: list[bytes]) -> None:
    """Bring these streams' states from one processor to another, as a snapshot does."""
    slots = np.array([source.streams.find(partition, key) for key in keys], np.int64)
    rows = source.read_states(slots)
    target.restore(partition, keys, rows, source.streams.offsets[slots], source.streams.timestamps[slots])


def test_restore_brings_the_states_back_bit_for_bit(lstm_bundle):
    rows = np.random.default_rng(5).standard_normal((6, 3)).astype(np.float32)
    first, second = processor_of(lstm_bundle), processor_of(lstm_bundle)
    first.process(batch_of([(1, b"a", f32(rows[:3])), (1, b"b", f32(rows[3:]))]))
    copied(first, second, 1, [b"a", b"b"])
    after = batch_of([(1, b"b", f32(rows)), (1, b"a", f32(rows))])
    assert first.process(after).outputs.values == second.process(after).outputs.values


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([b"a", b"b", b"c"]), st.integers(0, 4)), min_size=2, max_size=30),
    st.integers(0, 30),
    st.sets(st.sampled_from([b"a", b"b", b"c"])),
    st.sampled_from([None, 15]),
)
def test_replay_from_snapshots_of_any_age_gives_the_states_that_were(lstm_bundle, records, cut, saved, idle):
    """Some streams are saved after ``cut`` records, the others never; a crash; replay from 0; then the same outputs."""
    rng = np.random.default_rng(1)
    rows = [f32(rng.standard_normal((steps, 3))) if steps else None for _, steps in records]
    batches = []
    for offset, ((key, _), value) in enumerate(zip(records, rows, strict=True)):
        batches.append(batch_of([(0, key, value)], {0: offset}, timestamp=int(offset * 10 * (1 + offset % 2))))
    steady = processor_of(lstm_bundle, idle_reset_ms=idle)
    recovered = processor_of(lstm_bundle, idle_reset_ms=idle)
    for number, batch in enumerate(batches):
        if number == cut:
            copied(steady, recovered, 0, [key for key in sorted(saved) if steady.streams.find(0, key) is not None])
        steady.process(batch)
    for batch in batches:
        recovered.replay(batch)
    more = batch_of([(0, key, f32(np.ones((2, 3)))) for key in (b"a", b"b", b"c")], {0: len(batches)}, timestamp=10**6)
    assert steady.process(more).outputs.values == recovered.process(more).outputs.values
    for key in (b"a", b"b", b"c"):
        slots = [processor.streams.find(0, key) for processor in (steady, recovered)]
        assert (steady.read_states(np.array(slots[:1])) == recovered.read_states(np.array(slots[1:]))).all()


def test_process_after_too_long_a_silence_begins_the_stream_anew(lstm_bundle):
    value = f32(np.ones(3))
    processor = processor_of(lstm_bundle, idle_reset_ms=1000)
    fresh, second = (o for o in processor.process(batch_of([(0, b"a", value)] * 2, timestamp=5000)).outputs.values)
    assert fresh != second
    within = processor.process(batch_of([(0, b"a", value)], {0: 2}, timestamp=6000)).outputs.values[0]
    assert within not in (fresh, second)
    assert processor.process(batch_of([(0, b"a", value)] * 2, {0: 3}, timestamp=7001)).outputs.values == [fresh, second]
    late = processor.process(batch_of([(0, b"a", value)], {0: 5}, timestamp=100)).outputs.values[0]
    assert late == within
    assert len(processor.streams) == 1


def test_process_of_a_silence_and_a_tombstone_in_one_batch_equals_one_by_one(lstm_bundle):
    value, stamps = f32(np.ones(3)), [0, 2000, 2000, 2001, 2002, 5000]
    records = [(0, b"a", each) for each in (value, value, None, value, None, value)]
    whole, single = (processor_of(lstm_bundle, idle_reset_ms=1000) for _ in range(2))
    batches = [batch_of([each], {0: i}, timestamp=stamps[i]) for i, each in enumerate(records)]
    expected = [output for batch in batches for output in single.process(batch).outputs.values]
    batch = batch_of(records)
    batch.timestamps[:] = stamps
    assert whole.process(batch).outputs.values == expected
    assert len(whole.streams) == len(single.streams) == 1
    slots = [processor.streams.find(0, b"a") for processor in (whole, single)]
    assert (whole.read_states(np.array(slots[:1])) == single.read_states(np.array(slots[1:]))).all()


def test_process_of_json_for_a_classifier_gives_labels(classifier_bundle):
    processor = processor_of(classifier_bundle, "json")
    done = processor.process(batch_of([(0, b"a", b'{"ax": 1, "ay": 2, "az": 3}'), (0, b"a", b"[[1,2,3],[1,2,3]]")]))
    values = [json.loads(value) for value in done.outputs.values]
    assert [len(value["output"]) for value in values] == [1, 2]
    assert all(value["label"] in ("rest", "walk") for value in values)
    assert sum(values[0]["scores"].values()) == pytest.approx(1, abs=1e-5)
