"""What every stream's outputs must be: a plain step-by-step loop over the bundle's graph.

It shares no code with the runtime: onnxruntime, one record, one step, one call.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec
import numpy as np
import onnxruntime as ort


class Oracle:
    """One state a stream, kept in a dictionary."""

    def __init__(self, bundle: Path) -> None:
        manifest = msgspec.json.decode((bundle / "manifest.json").read_bytes())
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self._session = ort.InferenceSession(
            str(bundle / manifest["graph"]), options, providers=["CPUExecutionProvider"]
        )
        self._input = manifest["inputs"][0]["name"]
        self._output = manifest["outputs"][0]["name"]
        self._states = [(s["input"], s["output"], s["shape"]) for s in manifest["states"]]
        self._kept: dict[object, list[np.ndarray]] = {}

    def step(self, stream: object, row: np.ndarray) -> np.ndarray:
        """One step: ``row`` float32[feature] in, float32[width] out."""
        first = [np.zeros([1 if d == "batch" else d for d in shape], np.float32) for _, _, shape in self._states]
        before = self._kept.get(stream, first)
        feed = {self._input: row.reshape(1, 1, -1)}
        feed.update({name: value for (name, _, _), value in zip(self._states, before, strict=True)})
        out, *after = self._session.run([self._output, *(name for _, name, _ in self._states)], feed)
        self._kept[stream] = after
        return out.reshape(-1)

    def steps(self, stream: object, rows: Iterable[np.ndarray]) -> np.ndarray:
        """Several steps: float32[steps, width]."""
        return np.stack([self.step(stream, np.asarray(row, np.float32)) for row in rows])

    def states(self, stream: object) -> list[np.ndarray]:
        """The states of a stream in the manifest's order, without the batch axis."""
        axes = [shape.index("batch") for _, _, shape in self._states]
        return [value.take(0, axis) for value, axis in zip(self._kept[stream], axes, strict=True)]

    def end(self, stream: object) -> None:
        """The stream begins anew."""
        self._kept.pop(stream, None)
