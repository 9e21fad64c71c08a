"""The step graph as a user would run it: ONNX Runtime on one thread, states as arrays of their own."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort

Entry = tuple[bytes, bytes]


class Model:
    """States go by name: what goes in as ``h`` comes out as ``h.next``."""

    def __init__(self, graph: str) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        following = {node.name for node in self._session.get_outputs() if node.name.endswith(".next")}
        inputs = {node.name: node.shape[2] for node in self._session.get_inputs()}
        self._names = [name for name in inputs if f"{name}.next" in following]
        self._x = next(name for name in inputs if name not in self._names)
        y = next(node.name for node in self._session.get_outputs() if node.name not in following)
        self._wanted = [y, *(f"{name}.next" for name in self._names)]
        self.features = inputs[self._x]
        self.widths = [inputs[name] for name in self._names]

    def __call__(self, x: np.ndarray, states: list[np.ndarray]) -> list[np.ndarray]:
        """``x`` [time, batch, feature], states [1, batch, width]; returns output and new states."""
        return self._session.run(self._wanted, {self._x: x, **dict(zip(self._names, states, strict=True))})


class Batched:
    """Rounds of distinct streams within a poll, states in arrays: what an expert writes in a day."""

    def __init__(self, graph: str) -> None:
        self._model = Model(graph)
        self._slots: dict[bytes, int] = {}
        self._arrays = [np.zeros((1024, width), np.float32) for width in self._model.widths]

    def __call__(self, entries: list[Entry]) -> list[tuple[bytes, bytes]]:
        """Keys and values of a poll, in order; returns keys and outputs, in order within each key."""
        rounds: list[list[Entry]] = []
        seen: dict[bytes, int] = {}
        for entry in entries:
            nth = seen.get(entry[0], 0)
            seen[entry[0]] = nth + 1
            if nth == len(rounds):
                rounds.append([])
            rounds[nth].append(entry)
        done: list[tuple[bytes, bytes]] = []
        for some in rounds:
            slots = np.array([self._slots.setdefault(key, len(self._slots)) for key, _ in some])
            if slots.max() >= len(self._arrays[0]):
                self._arrays = [
                    np.concatenate([a, np.zeros((max(len(a), slots.max()), a.shape[1]), np.float32)])
                    for a in self._arrays
                ]
            x = np.frombuffer(b"".join([value for _, value in some]), np.float32).reshape(1, -1, self._model.features)
            y, *states = self._model(x, [a[slots][None] for a in self._arrays])
            for array, state in zip(self._arrays, states, strict=True):
                array[slots] = state[0]
            done += [(key, row.tobytes()) for (key, _), row in zip(some, y[0], strict=True)]
        return done
