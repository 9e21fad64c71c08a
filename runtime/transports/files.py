"""Files as a source of records: CSV, JSON lines, Parquet, sound. For ``replay`` and ``produce``; no group, no commits.

A row becomes a record with a key and a value in the codec asked for. CSV and Parquet have a
``key`` column, may have a ``timestamp`` column (milliseconds since 1970), and hold the features in
the others. JSON lines hold ``{"key": ..., "value": ...}`` and may hold ``"timestamp"``.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import orjson

from edge_rnn.contract.errors import MissingDependency, UsageError
from runtime.core.batch import RecordBatch
from runtime.transports.sound import SOUND, read_pieces

Codec = str
Row = tuple[str, object, int]
"""Key, value (numbers, or as the JSON line holds it), timestamp in milliseconds since 1970 (-1: none)."""

KINDS = (".csv", ".jsonl", ".ndjson", ".parquet", *SOUND)


def read_batches(
    path: Path,
    codec: Codec,
    names: Sequence[str] | None = None,
    batch_records: int = 4096,
    *,
    rate: int = 0,
    resample: bool = False,
) -> Iterator[RecordBatch]:
    """The file's records in order, as batches of partition 0 with offsets from 0 on.

    ``names`` picks and orders the feature columns; ``None`` takes all columns in the file's order.
    ``codec`` is ``json`` or ``f32``, or ``pcm16`` for sound, which comes at ``rate`` samples a second (0: its own), a WAV
    of another rate only if ``resample``. Raises `UsageError` naming file and line.
    """
    is_sound = path.suffix.lower() in SOUND and path.is_file()
    if is_sound != (codec == "pcm16"):
        kind = "sound" if is_sound else "rows"
        raise UsageError(f"{path} holds {kind}, and the codec is {codec}; sound goes with --codec pcm16")
    pieces = read_pieces(path, rate, resample=resample) if is_sound else iter(())
    rows = ((path.stem, piece, -1) for piece in pieces) if is_sound else _rows(path, names)
    write = _writers()[codec]
    offset = 0
    while chunk := list(islice(rows, batch_records)):
        n = len(chunk)
        offsets = np.arange(offset, offset + n, dtype=np.int64)
        offset += n
        yield RecordBatch(
            partitions=np.zeros(n, np.int32),
            offsets=offsets,
            timestamps=np.array([row[2] for row in chunk], np.int64),
            keys=[row[0].encode() for row in chunk],
            values=[write(row[1]) for row in chunk],
            positions={0: offset},
        )


def _rows(path: Path, names: Sequence[str] | None) -> Iterator[Row]:
    kind = path.suffix.lower()
    if kind not in KINDS:
        raise UsageError(f"{path} ends in {kind or 'nothing'!r}, expected one of {', '.join(KINDS)}")
    if not path.is_file():
        raise UsageError(f"{path} does not exist; give a file of rows ({', '.join(KINDS)})")
    if kind == ".csv":
        return _csv_rows(path, names)
    if kind == ".parquet":
        return _parquet_rows(path, names)
    return _json_rows(path)


def _csv_rows(path: Path, names: Sequence[str] | None) -> Iterator[Row]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file)
        header = next(reader, [])
        columns = _columns(path, header, names)
        key, stamp = header.index("key"), header.index("timestamp") if "timestamp" in header else None
        for cells in reader:
            if not cells:
                continue
            try:
                values = [float(cells[column]) for column in columns]
                yield cells[key], values, int(cells[stamp]) if stamp is not None else -1
            except (ValueError, IndexError) as error:
                raise UsageError(
                    f"{path} line {reader.line_num}: {error}; expected {len(header)} cells, numbers but for the key"
                ) from error


def _parquet_rows(path: Path, names: Sequence[str] | None) -> Iterator[Row]:
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise MissingDependency("Parquet needs pyarrow, which is not installed; pip install pyarrow") from error
    try:
        file = parquet.ParquetFile(path)
    except Exception as error:
        raise UsageError(f"{path} is not a Parquet file: {error}") from error
    header = list(file.schema_arrow.names)
    columns = [header[column] for column in _columns(path, header, names)]
    for batch in file.iter_batches():
        table = batch.to_pydict()
        stamps = table.get("timestamp", [-1] * batch.num_rows)
        for index, key in enumerate(table["key"]):
            yield str(key), [float(table[name][index]) for name in columns], int(stamps[index])


def _json_rows(path: Path) -> Iterator[Row]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                value = msgspec.json.decode(line)
                yield str(value["key"]), value["value"], int(value.get("timestamp", -1))
            except (msgspec.DecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
                raise UsageError(
                    f'{path} line {number} is not {{"key": ..., "value": ...}}: {type(error).__name__} {error}'
                ) from error


def _columns(path: Path, header: Sequence[str], names: Sequence[str] | None) -> list[int]:
    """Where the features stand."""
    if "key" not in header:
        raise UsageError(f"{path} has the columns {list(header)}, expected one named 'key' and one a feature")
    if names is None:
        found = [index for index, name in enumerate(header) if name not in ("key", "timestamp")]
        if not found:
            raise UsageError(f"{path} has no column beside its key, expected one a feature")
        return found
    missing = [name for name in names if name not in header]
    if missing:
        raise UsageError(f"{path} has no column {missing[0]!r}; expected {list(names)}")
    return [list(header).index(name) for name in names]


def _writers() -> dict[str, Callable[[object], bytes | None]]:
    return {"json": _write_json, "f32": _write_f32, "pcm16": _write_sound}


def _write_sound(value: Any) -> bytes | None:
    return bytes(value)


def _write_json(value: object) -> bytes | None:
    return None if value is None else orjson.dumps(value)


def _write_f32(value: Any) -> bytes | None:
    if value is None:
        return None
    try:
        return np.asarray(value, "<f4").tobytes()
    except (TypeError, ValueError) as error:
        raise UsageError(f"the value {str(value)[:60]} cannot be written as f32: {error}; use --codec json") from error
