"""Codecs: encode and decode are inverse; a bad value spoils no other."""

from __future__ import annotations

import json

import numpy as np
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
