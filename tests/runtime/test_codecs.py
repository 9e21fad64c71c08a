"""Codecs: encode and decode are inverse; a bad value spoils no other."""

from __future__ import annotations

import json

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_rnn.contract.errors import UsageError
from edge_rnn.contract.signature import OutputSpec
from runtime.codecs.f32 import F32Decoder, F32Encoder
from runtime.codecs.json import JsonDecoder, JsonEncoder
from runtime.codecs.registry import make_decoder, make_encoder

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
TABLES = st.lists(st.lists(st.lists(FLOATS, min_size=3, max_size=3), min_size=1, max_size=4), min_size=1, max_size=8)
VALUES = OutputSpec(name="y", dtype="float32", shape=("time", "batch", 3), axes=("time", "batch", "value"))


def spans(tables):
    lengths = np.array([len(table) for table in tables])
    return np.cumsum(lengths) - lengths, lengths


@given(TABLES)
def test_f32_decode_of_what_was_encoded_gives_the_same_bits(tables):
    rows = np.array([row for table in tables for row in table], np.float32)
    values = F32Encoder().encode([rows], *spans(tables))
    decoded = F32Decoder(3).decode(values)
    assert decoded.errors == {}
    assert decoded.lengths.tolist() == [len(table) for table in tables]
    assert decoded.rows.tobytes() == rows.tobytes()


@given(TABLES)
def test_json_decode_of_what_was_encoded_gives_the_same_bits(tables):
    rows = np.array([row for table in tables for row in table], np.float32)
    values = JsonEncoder([VALUES]).encode([rows], *spans(tables))
    inner = [json.dumps(json.loads(value)["output"]).encode() for value in values]
    decoded = JsonDecoder(3, None).decode(inner)
    assert decoded.errors == {}
    assert (decoded.rows == rows).all()
    assert decoded.lengths.tolist() == [len(table) for table in tables]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", "0 bytes"),
        (b"12345", "5 bytes"),
        (np.array([1, np.nan, 2], "<f4").tobytes(), "row 0, number 1 is nan"),
        (np.array([1, 2, 3, 4, 5, -np.inf], "<f4").tobytes(), "row 1, number 2 is -inf"),
    ],
)
def test_f32_value_that_is_bad_is_an_error_and_its_neighbours_are_read(value, reason):
    good = np.array([1, 2, 3], "<f4")
    decoded = F32Decoder(3).decode([good.tobytes(), value, (good * 2).tobytes()])
    assert reason in decoded.errors[1]
    assert set(decoded.errors) == {1}
    assert decoded.lengths.tolist() == [1, 0, 1]
    assert decoded.rows[decoded.starts[2]].tolist() == [2, 4, 6]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", "truncated"),
        (b"not json", "malformed"),
        (b"[1, 2]", "2 numbers, expected 3"),
        (b"[]", "empty array"),
        (b"[[1,2,3],[1,2]]", "a row of 2 numbers, expected 3"),
        (b'["1", 2, 3]', "Expected `float`, got `str`"),
        (b"[true, 2, 3]", "Expected `float`, got `bool`"),
        (b"[null, 2, 3]", "Expected `float`, got `null`"),
        (b"[1e39, 2, 3]", "row 0, number 0 is inf"),
        (b'{"ax": 1, "ay": 2}', "feature 'az' is missing"),
        (b'{"ax": 1, "ay": 2, "az": 3, "b": 4}', "unknown feature 'b'"),
        (b"[1, 2, 3] tail", "trailing"),
        (b"7", "Expected `array`"),
        (b"\xff\xfe", "malformed"),
    ],
)
def test_json_value_that_is_bad_is_an_error_and_its_neighbours_are_read(value, reason):
    decoded = JsonDecoder(3, ["ax", "ay", "az"]).decode([b"[1, 2, 3]", value, b'{"az": 6, "ay": 4, "ax": 2}'])
    assert reason in decoded.errors[1]
    assert set(decoded.errors) == {1}
    assert decoded.lengths.tolist() == [1, 0, 1]
    assert decoded.rows[decoded.starts[2]].tolist() == [2, 4, 6]


ODD = st.sampled_from(
    [
        *(b"[1", b"2,3]", b"[1,2,3],[4,5,6]", b"[[1,2,3]", b"[1,2,3]]", b"[]", b"[[]]", b"[1,2]", b"[1,2,3,4]"),
        *(b"[-0,0,1e2]", b"[[1,2,3],[4,5,6]]", b"[true,2,3]", b'["],[",2,3]', b"[1e39,2,3]", b"[1e400,2,3]"),
        *(b" [1,2,3]", b"[1,2,3]\n", b"[,1,2]", b"", b"]", b"[", None, b'{"a":1,"b":2,"c":3}', b"[\xff,2,3]"),
        b"[18446744073709551617,2,3]",
    ]
)


def read(decoded, index):
    return decoded.rows[decoded.starts[index] : decoded.starts[index] + decoded.lengths[index]]


@given(st.lists(st.one_of(st.just(b"[1,2,3]"), ODD), min_size=8, max_size=300))
def test_json_value_is_read_the_same_whatever_its_neighbours_are(values):
    decoder = JsonDecoder(3, ["a", "b", "c"])
    together = decoder.decode(values)
    for index, value in enumerate(values):
        alone = decoder.decode([value])
        assert together.errors.get(index) == alone.errors.get(0)
        assert together.lengths[index] == alone.lengths[0]
        assert read(together, index).tobytes() == read(alone, 0).tobytes()


@given(TABLES)
def test_json_encoder_writes_what_json_of_the_rows_is(tables):
    rows = np.array([row for table in tables for row in table], np.float32)
    second = OutputSpec(name='a "b"', dtype="int64", shape=("time", "batch", 1), axes=("time", "batch", "value"))
    counts = np.arange(len(rows))[:, None]
    starts, lengths = spans(tables)
    one = JsonEncoder([VALUES]).encode([rows], starts, lengths)
    two = JsonEncoder([VALUES, second]).encode([rows, counts], starts[::2], lengths[::2])
    for index, (begin, length) in enumerate(zip(starts, lengths, strict=True)):
        span = slice(begin, begin + length)
        assert one[index] == orjson.dumps({"output": rows[span]}, option=orjson.OPT_SERIALIZE_NUMPY)
        if index % 2 == 0:
            whole = {"output": rows[span], 'a "b"': counts[span]}
            assert two[index // 2] == orjson.dumps(whole, option=orjson.OPT_SERIALIZE_NUMPY)


def test_json_rows_of_objects_are_read_in_the_features_order():
    decoded = JsonDecoder(2, ["a", "b"]).decode([b' [ {"b": 2, "a": 1}, {"a": 3, "b": 4} ]'])
    assert decoded.rows.tolist() == [[1, 2], [3, 4]]


def test_json_object_without_feature_names_is_an_error():
    assert "no names" in JsonDecoder(2, None).decode([b'{"a": 1, "b": 2}']).errors[0]


def test_json_output_of_a_classifier_names_label_and_scores_of_the_last_step():
    spec = OutputSpec(
        name="y",
        dtype="float32",
        shape=("time", "batch", 2),
        axes=("time", "batch", "class"),
        kind="logits",
        labels=("rest", "walk"),
    )
    rows = np.array([[9, 0], [0, 1000]], np.float32)
    (value,) = JsonEncoder([spec]).encode([rows], np.array([0]), np.array([2]))
    assert json.loads(value) == {"output": [[9, 0], [0, 1000]], "label": "walk", "scores": {"rest": 0.0, "walk": 1.0}}


def test_json_output_of_several_outputs_names_the_others():
    second = OutputSpec(name="z", dtype="float32", shape=("time", "batch", 1), axes=("time", "batch", "value"))
    rows = np.ones((1, 3), np.float32)
    (value,) = JsonEncoder([VALUES, second]).encode([rows, rows[:, :1]], np.array([0]), np.array([1]))
    assert json.loads(value) == {"output": [[1, 1, 1]], "z": [[1]]}


def test_codec_of_unknown_name_is_refused_with_the_list(lstm_bundle):
    with pytest.raises(UsageError, match="json, f32"):
        make_decoder("avro", lstm_bundle.manifest)
    with pytest.raises(UsageError, match="json, f32"):
        make_encoder("avro", lstm_bundle.manifest)
