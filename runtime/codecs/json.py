"""``json``: an array of the features, an object by feature name, or an array of such rows."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import msgspec
import numpy as np
import orjson

from edge_rnn.contract.signature import OutputSpec
from runtime.codecs.protocol import Decoded, as_table, refuse_non_finite
from runtime.core.column import Cells, Column, as_column

PIECE = 128
"""Plain rows that are parsed in one go; Python's lock is held for so long."""

FEW = 8
"""For fewer values than this the short way does not pay."""


class JsonDecoder:
    """Reads one row or an array of rows a value into ``dtype[total, width]``.

    ``names`` are the features' names in order, or ``None`` where the model names none: objects are
    then errors. Numbers only: strings, booleans and null are errors, and so is an unknown or a
    missing name.
    """

    name = "json"

    def __init__(self, width: int, names: Sequence[str] | None, dtype: str = "float32") -> None:
        self._width = width
        self._names = tuple(names) if names is not None else None
        self._dtype = dtype
        self._row: Any = msgspec.json.Decoder(list[float])
        self._rows: Any = msgspec.json.Decoder(list[list[float]])
        self._object: Any = msgspec.json.Decoder(dict[str, float])
        self._objects: Any = msgspec.json.Decoder(list[dict[str, float]])

    def decode(self, values: Cells) -> Decoded:
        """Read each value by itself; plain rows in a piece together, which says the same and takes less."""
        n = len(values)
        column = as_column(values) if n >= FEW else None
        cells = values if column is None else column.tolist()
        bracketed = np.zeros(n, bool) if column is None else _bracketed(column)
        tables: list[np.ndarray] = []
        lengths = np.zeros(n, np.int64)
        errors: dict[int, str] = {}
        for begin in range(0, n, PIECE):
            piece = cells[begin : begin + PIECE]
            table = self._plain_rows(piece) if bracketed[begin : begin + PIECE].all() else None
            if table is None:
                table = self._one_by_one(piece, begin, lengths, errors)
            else:
                lengths[begin : begin + len(piece)] = 1
            tables.append(table)
        with np.errstate(over="ignore"):
            rows = np.concatenate(tables or [np.empty(0)]).astype(self._dtype).reshape(-1, self._width)
        return refuse_non_finite(Decoded(rows, np.cumsum(lengths) - lengths, lengths, errors))

    def _plain_rows(self, values: Sequence[bytes | None]) -> np.ndarray | None:
        """Values that each begin with ``[`` and end with ``]``, if each is one row of numbers: float64[n * width].

        Put together with commas they are one array. Each of them adds a row to it, or else it is no
        array of rows: so where it has as many rows as there are values, each value is one.
        """
        try:
            rows: list[list[float]] = self._rows.decode(b"[%b]" % b",".join(values))  # type: ignore[arg-type]
        except (msgspec.DecodeError, ValueError):
            return None
        if len(rows) != len(values) or set(map(len, rows)) != {self._width}:
            return None
        return np.fromiter(chain.from_iterable(rows), np.float64, len(rows) * self._width)

    def _one_by_one(
        self, values: Sequence[bytes | None], first: int, lengths: np.ndarray, errors: dict[int, str]
    ) -> np.ndarray:
        """All numbers of these values, of which the first is number ``first``; sets their ``lengths`` or ``errors``."""
        flat: list[float] = []
        for index, value in enumerate(values, first):
            try:
                numbers = self._read(value or b"")
            except (msgspec.DecodeError, ValueError) as error:
                errors[index] = str(error)
                continue
            lengths[index] = len(numbers) // self._width
            flat += numbers
        return np.array(flat, np.float64)

    def _read(self, value: bytes) -> list[float]:
        """All numbers of one value, row after row. Raises ``ValueError`` saying what was expected."""
        head = value[:64].translate(None, b" \t\r\n")[:2]
        if head[:1] == b"{":
            return self._by_name(self._object.decode(value))
        if head == b"[{":
            return [number for row in self._objects.decode(value) for number in self._by_name(row)]
        if head == b"[[":
            rows = self._rows.decode(value)
            for row in rows:
                if len(row) != self._width:
                    raise ValueError(f"a row of {len(row)} numbers, expected {self._width}")
            return [number for row in rows for number in row]
        numbers: list[float] = self._row.decode(value)
        if len(numbers) != self._width:
            if not numbers:
                raise ValueError(f"an empty array, expected {self._width} numbers or an array of rows")
            raise ValueError(f"{len(numbers)} numbers, expected {self._width}")
        return numbers

    def _by_name(self, row: dict[str, float]) -> list[float]:
        if self._names is None:
            raise ValueError("an object, but the model's features have no names; expected an array")
        if len(row) != len(self._names):
            unknown = sorted(set(row) - set(self._names))
            if unknown:
                raise ValueError(f"unknown feature {unknown[0]!r}, expected {list(self._names)}")
        try:
            return [row[name] for name in self._names]
        except KeyError as error:
            raise ValueError(f"feature {error.args[0]!r} is missing, expected {list(self._names)}") from None


class JsonEncoder:
    """Writes ``{"output": [[...], ...]}``, a row a step; further outputs follow under their names.

    A classifier's value also holds ``"label"`` and ``"scores"`` of its last step: the class with
    the highest score, and each class's probability by name.
    """

    name = "json"

    def __init__(self, outputs: Sequence[OutputSpec]) -> None:
        self._names = ["output", *(spec.name for spec in outputs[1:])]
        self._main = outputs[0]

    def encode(self, outputs: Sequence[np.ndarray], starts: np.ndarray, lengths: np.ndarray) -> Cells:
        """One value for each (start, length)."""
        tables = [np.ascontiguousarray(as_table(output)) for output in outputs]
        spans = list(zip(starts.tolist(), (starts + lengths).tolist(), strict=True))
        labels = self._main.labels
        if labels is None:
            return self._plain(tables, spans)
        last = tables[0][[end - 1 for _, end in spans]]
        scores = _softmax(last) if self._main.kind == "logits" else last
        best = last.argmax(axis=1).tolist()
        named = list(zip(self._names, tables, strict=True))
        values = []
        for (begin, end), winner, row in zip(spans, best, scores.tolist(), strict=True):
            value: dict[str, object] = {name: table[begin:end] for name, table in named}
            value["label"] = labels[winner]
            value["scores"] = {label: round(score, 6) for label, score in zip(labels, row, strict=True)}
            values.append(orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY))
        return values

    def _plain(self, tables: Sequence[np.ndarray], spans: Sequence[tuple[int, int]]) -> list[bytes]:
        """Values of nothing but rows: each table is written once, and taken apart between its rows."""
        parts = [_texts(table, spans) for table in tables]
        heads = [orjson.dumps(name) + b":[[" for name in self._names]
        if len(parts) == 1:
            head = b"{" + heads[0]
            return [b"%b%b]]}" % (head, text) for text in parts[0]]
        return [
            b"{%b]]}" % b"]],".join(head + text for head, text in zip(heads, texts, strict=True))
            for texts in zip(*parts, strict=True)
        ]


def _bracketed(column: Column) -> np.ndarray:
    """Which values begin with ``[`` and end with ``]``: bool[n]."""
    found = column.lengths >= 2
    whole = np.flatnonzero(found)
    begins = column.starts[whole]
    ends = begins + column.lengths[whole] - 1
    found[whole] = (column.data[begins] == ord("[")) & (column.data[ends] == ord("]"))
    return found


def _texts(table: np.ndarray, spans: Sequence[tuple[int, int]]) -> list[bytes]:
    """The rows of each span as JSON, without the brackets around the first and the last one."""
    rows = orjson.dumps(table, option=orjson.OPT_SERIALIZE_NUMPY)[2:-2].split(b"],[")
    return [rows[begin] if end == begin + 1 else b"],[".join(rows[begin:end]) for begin, end in spans]


def _softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities along the last axis, the largest logit taken out first so that nothing overflows."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))
