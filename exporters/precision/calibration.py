"""Sequences to calibrate on, and the largest activations that they make.

A file of sequences is a CSV with a ``key`` column (the rows of a key are one stream, in order) and a
column per feature, an ``.npz`` with ``[time, batch, *row]`` under the inputs' names, or, where the
bundle has a framing, a WAV of 16 bits.
"""

from __future__ import annotations

import csv
import wave
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from edge_rnn.contract.bundle import Bundle
from edge_rnn.contract.errors import UsageError
from edge_rnn.contract.gates import SEED
from edge_rnn.contract.golden import load_golden
from edge_rnn.contract.signature import Manifest
from edge_rnn.contract.stepgraph import Arrays, Step, StepGraph, first_states
from edge_rnn.contract.trial import draw_inputs

STEPS, STREAMS, CHUNK = 256, 8, 64
MOST_STEPS = 20000
"""Steps of a file that are used; what is behind them is left out."""


@dataclass(frozen=True)
class Calibration:
    """Runs of fresh streams, each the inputs ``[time, batch, *row]``, and where they are from."""

    runs: list[Arrays]
    source: str


class Watching(StepGraph):
    """A step graph that notes the largest absolute value of some tensors of its main graph."""

    def __init__(
        self, manifest: Manifest, graph: bytes, tensors: Sequence[str], constants: dict[str, np.ndarray]
    ) -> None:
        model = onnx.load_from_string(graph)
        there = {output.name for output in model.graph.output}
        for name in tensors:
            if name not in there:
                model.graph.output.add().name = name
        super().__init__(manifest, model.SerializeToString(), constants=constants)
        self._watched = list(tensors)
        self.largest = dict.fromkeys(tensors, 0.0)

    def _call(self, session: Any, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
        results: list[np.ndarray] = session.run([*self._wanted, *self._watched], feed)
        count = len(self._wanted)
        for name, value in zip(self._watched, results[count:], strict=True):
            self.largest[name] = max(self.largest[name], float(np.abs(value[np.isfinite(value)]).max(initial=0)))
        return results[:count]


def largest_activations(bundle: Bundle, tensors: Sequence[str], calibration: Calibration) -> dict[str, float]:
    """The largest absolute value of each tensor over all runs."""
    step = Watching(bundle.manifest, bundle.graph_path.read_bytes(), tensors, bundle.constants())
    for inputs in calibration.runs:
        run_steps(bundle, step, inputs)
    return step.largest


def run_steps(bundle: Bundle, step: Step, inputs: Arrays) -> np.ndarray:
    """The main output ``[time, batch, *row]`` of fresh streams."""
    states = first_states(bundle, inputs[0].shape[1])
    size = CHUNK if bundle.manifest.has_time else 1
    parts = []
    for start in range(0, inputs[0].shape[0], size):
        outputs, states = step([value[start : start + size] for value in inputs], states)
        parts.append(outputs[0])
    return np.concatenate(parts)


def drawn_calibration(bundle: Bundle) -> Calibration:
    """Sequences like the golden vectors, for want of better ones."""
    golden = load_golden(bundle).inputs
    drawn = draw_inputs(golden, STEPS, STREAMS, np.random.default_rng(SEED + 2))
    return Calibration([golden, drawn], "sequences drawn from the golden vectors")


def read_calibration(bundle: Bundle, path: Path) -> Calibration:
    """The sequences of a file. Raises `UsageError` naming what does not fit."""
    if not path.is_file():
        raise UsageError(f"--calibration {path} does not exist; give a CSV with a key column, an .npz or a WAV")
    read = {".csv": _read_csv, ".npz": _read_npz, ".wav": _read_wav}.get(path.suffix.lower())
    if read is None:
        raise UsageError(f"--calibration {path}: expected .csv, .npz or .wav")
    runs = read(bundle.manifest, path)
    if not runs or not sum(run[0].size for run in runs):
        raise UsageError(f"--calibration {path} holds no steps")
    return Calibration(runs, path.name)


def _read_csv(manifest: Manifest, path: Path) -> list[Arrays]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        header = list(reader.fieldnames or [])
        names = list(manifest.feature_names or [name for name in header if name not in ("key", "timestamp")])
        missing = [name for name in ["key", *names] if name not in header]
        if missing or len(names) != manifest.width:
            raise UsageError(
                f"--calibration {path} has the columns {header}, expected key and {manifest.feature_names or manifest.width}"
            )
        streams: dict[str, list[list[float]]] = {}
        for number, row in enumerate(reader):
            if number >= MOST_STEPS:
                break
            try:
                streams.setdefault(row["key"], []).append([float(row[name]) for name in names])
            except (TypeError, ValueError) as error:
                raise UsageError(f"--calibration {path} line {reader.line_num}: {error}") from error
    return [_as_inputs(manifest, np.array(rows)[:, None]) for rows in streams.values()]


def _read_npz(manifest: Manifest, path: Path) -> list[Arrays]:
    if not zipfile.is_zipfile(path):
        raise UsageError(f"--calibration {path} is not what numpy.savez writes; save an array for each input with it")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            inputs = [np.asarray(arrays[spec.name], spec.dtype) for spec in manifest.inputs]
    except (OSError, KeyError, ValueError) as error:
        raise UsageError(
            f"--calibration {path}: {error}; expected an array for each input, [time, batch, *row]"
        ) from error
    for spec, value in zip(manifest.inputs, inputs, strict=True):
        if value.shape[2:] != spec.row_shape or value.shape[:2] != inputs[0].shape[:2]:
            raise UsageError(
                f"--calibration {path}: {spec.name} has shape {list(value.shape)}, expected [time, batch, *row]"
            )
    return [inputs]


def _read_wav(manifest: Manifest, path: Path) -> list[Arrays]:
    framing = manifest.framing
    if framing is None:
        raise UsageError(f"--calibration {path}: the bundle has no framing; give a CSV or an .npz")
    with wave.open(str(path)) as file:
        if file.getsampwidth() != 2 or file.getnchannels() != 1 or framing.rate not in (0, file.getframerate()):
            raise UsageError(f"--calibration {path}: expected one channel of 16 bits at {framing.rate} Hz")
        samples = np.frombuffer(file.readframes(MOST_STEPS * framing.hop), "<i2").astype(np.float32) / 32768
    padded = np.concatenate([np.zeros(framing.context, np.float32), samples])
    windows = np.lib.stride_tricks.sliding_window_view(padded, framing.width)[:: framing.hop]
    return [_as_inputs(manifest, windows[:, None])]


def _as_inputs(manifest: Manifest, rows: np.ndarray) -> Arrays:
    """``[time, batch, width]`` as the inputs in manifest order."""
    cuts = np.cumsum([spec.width for spec in manifest.inputs])[:-1]
    pieces = np.split(rows, cuts, axis=2)
    return [
        piece.reshape(*piece.shape[:2], *spec.row_shape).astype(spec.dtype)
        for piece, spec in zip(pieces, manifest.inputs, strict=True)
    ]
