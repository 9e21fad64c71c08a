"""Reads the values that an encoder wrote: the rows of the first output."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import orjson

from edge_rnn.contract.errors import UsageError
from edge_rnn.contract.signature import Manifest


def make_output_reader(name: str, manifest: Manifest) -> Callable[[bytes], np.ndarray]:
    """From a value to float64[rows, width], by the name of the encoder; the reader raises ``ValueError``.

    Raises `UsageError` for an unknown name.
    """
    width = int(np.prod(manifest.outputs[0].row_shape, dtype=np.int64))
    if name == "f32":
        return lambda value: np.frombuffer(value, "<f4").astype(np.float64).reshape(-1, width)
    if name == "json":
        return lambda value: _json_rows(value, width)
    raise UsageError(f"output codec {name!r} cannot be read back, expected json or f32")


def _json_rows(value: bytes, width: int) -> np.ndarray:
    found = orjson.loads(value)  # its error is a ValueError
    if not isinstance(found, dict) or "output" not in found:
        raise ValueError(f"expected an object with 'output', found {value[:40]!r}")
    try:
        return np.array(found["output"], np.float64).reshape(-1, width)
    except TypeError as error:
        raise ValueError(str(error)) from error
