"""Files as a source of records."""

from __future__ import annotations

import json

import numpy as np
import pytest

from edge_rnn.contract.errors import UsageError
from runtime.transports.files import read_batches


def rows_of(path, codec="json", names=None, **more):
    return [
        (key, value, stamp)
        for batch in read_batches(path, codec, names, **more)
        for key, value, stamp in zip(batch.keys, batch.values, batch.timestamps.tolist(), strict=True)
    ]


def test_csv_columns_are_taken_by_name_in_the_models_order(tmp_path):
    file = tmp_path / "rows.csv"
    file.write_text("b,key,timestamp,a,note\n2,k1,1000,1,x\n4,k2,2000,3,y\n")
    assert rows_of(file, names=["a", "b"]) == [(b"k1", b"[1.0,2.0]", 1000), (b"k2", b"[3.0,4.0]", 2000)]


def test_parquet_gives_the_same_as_csv(tmp_path):
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"key": ["k1", "k2"], "a": [1.0, 3.0], "b": [2.0, 4.0]}), tmp_path / "r.parquet")
    (tmp_path / "r.csv").write_text("key,a,b\nk1,1,2\nk2,3,4\n")
    assert rows_of(tmp_path / "r.parquet") == rows_of(tmp_path / "r.csv")


def test_json_lines_hold_rows_objects_and_tombstones(tmp_path):
    file = tmp_path / "rows.jsonl"
    lines = [{"key": "a", "value": [[1, 2], [3, 4]]}, {"key": "b", "value": {"x": 1}}, {"key": "a", "value": None}]
    file.write_text("\n".join(json.dumps(line) for line in lines) + "\n\n")
    assert rows_of(file) == [(b"a", b"[[1,2],[3,4]]", -1), (b"b", b'{"x":1}', -1), (b"a", None, -1)]


def test_f32_values_are_little_endian_floats(tmp_path):
    file = tmp_path / "rows.csv"
    file.write_text("key,a,b\nk,1,2\n")
    assert rows_of(file, "f32") == [(b"k", np.array([1, 2], "<f4").tobytes(), -1)]


def test_batches_hold_so_many_rows_and_count_offsets_on(tmp_path):
    file = tmp_path / "rows.csv"
    file.write_text("key,a\n" + "k,1\n" * 5)
    batches = list(read_batches(file, "json", batch_records=2))
    assert [batch.offsets.tolist() for batch in batches] == [[0, 1], [2, 3], [4]]
    assert [batch.positions for batch in batches] == [{0: 2}, {0: 4}, {0: 5}]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("rows.csv", "a,b\n1,2\n", "'key'"),
        ("rows.csv", "key\nk\n", "no column beside its key"),
        ("rows.csv", "key,a\nk,1\nk,one\n", "line 3"),
        ("rows.csv", "key,a,b\nk,1\n", "line 2"),
        ("rows.jsonl", '{"key": "a"}\n', "line 1"),
        ("rows.jsonl", "no\n", "line 1"),
        ("rows.jsonl", "[1]\n", "line 1"),
        ("rows.jsonl", "[" * 100_000, "line 1"),
        ("rows.jsonl", '{"key": "a", "value": 1000000000000000000000}\n', "cannot be written as a record"),
        ("rows.txt", "", ".csv"),
        ("rows.parquet", "no", "not a Parquet file"),
    ],
)
def test_file_that_is_wrong_is_refused_with_the_place(tmp_path, name, text, words):
    (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match=words):
        rows_of(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "codec", "words"),
    [
        ("none.wav", "pcm16", r"none\.wav does not exist; give one of rows \(\.csv, .*\) or sound \(\.wav, \.pcm\)"),
        ("none.csv", "json", r"none\.csv does not exist"),
        (".", "json", "is not a file"),
        ("vad.onnx", "pcm16", r"vad\.onnx ends in '\.onnx', expected rows \(\.csv, .*\) or sound \(\.wav, \.pcm\)"),
        ("vad.onnx", "json", r"vad\.onnx ends in '\.onnx', expected rows"),
        ("rows.csv", "pcm16", "holds rows, .* give --codec json or f32"),
        ("a.pcm", "f32", r"holds sound, and --codec is f32; give --codec pcm16"),
    ],
)
def test_file_that_is_not_there_or_of_another_kind_is_refused_with_what_is_read(tmp_path, name, codec, words):
    for there in ("vad.onnx", "rows.csv", "a.pcm"):
        (tmp_path / there).write_bytes(b"key,a\nk,1\n")
    with pytest.raises(UsageError, match=words):
        rows_of(tmp_path / name, codec)


def test_csv_without_a_feature_of_the_model_names_it(tmp_path):
    (tmp_path / "rows.csv").write_text("key,a\nk,1\n")
    with pytest.raises(UsageError, match=r"'b'.*\['a', 'b'\]"):
        rows_of(tmp_path / "rows.csv", names=["a", "b"])
