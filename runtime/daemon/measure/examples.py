"""Inputs to measure with: the bundle's own golden vectors, over and over, so that a token is one that exists."""

from __future__ import annotations

import numpy as np
import orjson

from edge_rnn.contract.bundle import Bundle
from edge_rnn.contract.golden import load_golden

VALUES = 4096


def example_inputs(bundle: Bundle, chunk: int, batch: int) -> list[np.ndarray]:
    """One array ``[chunk, batch, *row]`` for each streamed input."""
    found = []
    for spec, value in zip(bundle.manifest.inputs, load_golden(bundle).inputs, strict=True):
        rows = value.reshape(-1, *spec.row_shape)
        found.append(rows[np.arange(chunk * batch) % len(rows)].reshape(chunk, batch, *spec.row_shape))
    return found


def example_values(bundle: Bundle, codec: str, count: int = VALUES) -> list[bytes]:
    """Record values of one row each; of a framed model's samples, of one hop each."""
    framing = bundle.manifest.framing
    if codec == "pcm16" and framing is not None:
        (windows,) = example_inputs(bundle, 1, count)
        samples = np.clip(windows.reshape(count, framing.width)[:, framing.context :] * 32768, -32768, 32767)
        return [hop.tobytes() for hop in samples.astype("<i2")]
    columns = [
        array.reshape(count, spec.width)
        for array, spec in zip(example_inputs(bundle, 1, count), bundle.manifest.inputs, strict=True)
    ]
    rows = np.concatenate(columns, axis=1)
    if codec == "f32":
        return [row.tobytes() for row in rows.astype("<f4")]
    return [orjson.dumps(row, option=orjson.OPT_SERIALIZE_NUMPY) for row in rows]
