"""``json``: an array of the features, an object by feature name, or an array of such rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import orjson

from edge_rnn.contract.signature import OutputSpec
from runtime.codecs.protocol import Decoded, as_table, refuse_non_finite
from runtime.core.column import Cells


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
        """Read each value by itself."""
        flat: list[float] = []
        lengths = np.zeros(len(values), np.int64)
        errors: dict[int, str] = {}
        width = self._width
        for index, value in enumerate(values):
            try:
                rows = self._read(value or b"")
            except (msgspec.DecodeError, ValueError) as error:
                errors[index] = str(error)
                continue
            lengths[index] = len(rows) // width
            flat += rows
        with np.errstate(over="ignore"):
            table = np.array(flat, np.float64).astype(self._dtype).reshape(-1, width)
        return refuse_non_finite(Decoded(table, np.cumsum(lengths) - lengths, lengths, errors))

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
        option = orjson.OPT_SERIALIZE_NUMPY
        labels = self._main.labels
        if labels is None:
            if len(tables) == 1:
                table = tables[0]
                return [orjson.dumps({"output": table[begin:end]}, option=option) for begin, end in spans]
            named = list(zip(self._names, tables, strict=True))
            return [orjson.dumps({name: t[begin:end] for name, t in named}, option=option) for begin, end in spans]
        last = tables[0][[end - 1 for _, end in spans]]
        scores = _softmax(last) if self._main.kind == "logits" else last
        best = last.argmax(axis=1).tolist()
        named = list(zip(self._names, tables, strict=True))
        values = []
        for (begin, end), winner, row in zip(spans, best, scores.tolist(), strict=True):
            value: dict[str, object] = {name: table[begin:end] for name, table in named}
            value["label"] = labels[winner]
            value["scores"] = {label: round(score, 6) for label, score in zip(labels, row, strict=True)}
            values.append(orjson.dumps(value, option=option))
        return values


def _softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities along the last axis, the largest logit taken out first so that nothing overflows."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))
