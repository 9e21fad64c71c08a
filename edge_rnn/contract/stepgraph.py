"""A step graph opened in ONNX Runtime, in canonical layout whatever the graph's own axis order is.

Canonical layout: inputs and outputs ``[time, batch, *row]``, states ``[batch, *row]``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Protocol

import msgspec
import numpy as np

from edge_rnn.contract.bundle import Bundle
from edge_rnn.contract.cpu import adds_eight_bits
from edge_rnn.contract.errors import EngineError
from edge_rnn.contract.ort import import_onnxruntime
from edge_rnn.contract.signature import Manifest, PromptSpec, TensorSpec

Arrays = list[np.ndarray]


class Step(Protocol):
    """One call of a step function: ``(inputs, states) -> (outputs, new states)``.

    ``inputs`` and ``outputs`` are ``[time, batch, *row]`` and ``states`` ``[batch, *row]``, each in
    manifest order.
    """

    def __call__(self, inputs: Sequence[np.ndarray], states: Sequence[np.ndarray], /) -> tuple[Arrays, Arrays]: ...


class StepGraph:
    """The step graph of a bundle (or of bytes not yet written) on ONNX Runtime's CPU provider."""

    def __init__(
        self,
        manifest: Manifest,
        graph: bytes | str,
        *,
        threads: int = 1,
        constants: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        """Open the graph. ``graph`` is the model's bytes or its path; ``constants`` are those kept in files.

        Raises `EngineError`.
        """
        if manifest.accuracy is not None and manifest.accuracy.weight_bits == 8 and not adds_eight_bits():
            raise EngineError(
                f"the weights of {manifest.name!r} have 8 bits, and this CPU has no VNNI: its sums of products would overflow;"
                " export with --weight-bits 7"
            )
        ort = import_onnxruntime()
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # what goes wrong is raised, and said once
        try:
            self._session: Any = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises its own classes, which share no base
            raise EngineError(
                f"onnxruntime {ort.__version__} cannot open the step graph of {manifest.name!r}: {_first_line(error)}"
            ) from error
        self.manifest = manifest
        self._check_names()
        self._constants = dict(constants or {})
        for spec in manifest.constants:
            if spec.name not in self._constants:
                self._constants[spec.name] = np.asarray(spec.value, spec.dtype)
        self._repeated = {c.name: c.batch_axis for c in manifest.constants if c.batch_axis is not None}
        self._wanted = [spec.name for spec in manifest.outputs] + [spec.output for spec in manifest.states]

    def _check_names(self) -> None:
        manifest = self.manifest
        for what, expected, found in (
            (
                "inputs",
                {s.name for s in manifest.inputs}
                | {c.name for c in manifest.constants}
                | {s.input for s in manifest.states},
                {node.name for node in self._session.get_inputs()},
            ),
            (
                "outputs",
                {s.name for s in manifest.outputs} | {s.output for s in manifest.states},
                {node.name for node in self._session.get_outputs()},
            ),
        ):
            missing, unbound = sorted(expected - found), sorted(found - expected)
            if missing or (what == "inputs" and unbound):
                raise EngineError(
                    f"the step graph of {manifest.name!r} has {what} {sorted(found)}, its manifest names"
                    f" {sorted(expected)}; export the bundle again"
                )

    def __call__(self, inputs: Sequence[np.ndarray], states: Sequence[np.ndarray], /) -> tuple[Arrays, Arrays]:
        """Run one call; see `Step`. Raises `EngineError` when the graph fails.

        Where the graph takes one stream a call, the streams take turns.
        """
        batch = inputs[0].shape[1]
        if self.manifest.batch_limit is None or batch <= 1:
            return self._run(inputs, states)
        turns = [
            self._run([value[:, i : i + 1] for value in inputs], [value[i : i + 1] for value in states])
            for i in range(batch)
        ]
        outputs = [np.concatenate(parts, axis=1) for parts in zip(*(turn[0] for turn in turns), strict=True)]
        return outputs, [np.concatenate(parts) for parts in zip(*(turn[1] for turn in turns), strict=True)]

    def _run(self, inputs: Sequence[np.ndarray], states: Sequence[np.ndarray]) -> tuple[Arrays, Arrays]:
        manifest = self.manifest
        feed = dict(self._constants)
        for name, axis in self._repeated.items():
            feed[name] = np.repeat(np.expand_dims(feed[name], axis), inputs[0].shape[1], axis)
        for spec, value in zip(manifest.inputs, inputs, strict=True):
            feed[spec.name] = _to_graph(spec, value)
        for state, value in zip(manifest.states, states, strict=True):
            feed[state.input] = np.ascontiguousarray(_moved(value, (0,), (state.batch_axis,)))
        try:
            results = self._call(feed)
        except Exception as error:
            shapes = {name: value.shape for name, value in feed.items()}
            raise EngineError(
                f"the step graph of {manifest.name!r} failed on {shapes}: {_first_line(error)}"
            ) from error
        n = len(manifest.outputs)
        outputs = [_from_graph(spec, value) for spec, value in zip(manifest.outputs, results[:n], strict=True)]
        new = [
            _moved(value, (spec.batch_axis,), (0,)) for spec, value in zip(manifest.states, results[n:], strict=True)
        ]
        return outputs, new

    def _call(self, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
        results: list[np.ndarray] = self._session.run(self._wanted, feed)
        return results


def open_step_graph(bundle: Bundle, *, threads: int = 1) -> StepGraph:
    """Open the step graph of a bundle on the CPU. Raises `EngineError`."""
    return StepGraph(bundle.manifest, str(bundle.graph_path), threads=threads, constants=bundle.constants())


def prompt_manifest(manifest: Manifest, prompt: PromptSpec) -> Manifest:
    """The manifest by which `StepGraph` runs the prompt graph: its own input, no output, the same states."""
    return msgspec.structs.replace(manifest, graph=prompt.graph, inputs=(prompt.input,), outputs=(), constants=())


def first_states(bundle: Bundle, batch: int) -> Arrays:
    """The states of ``batch`` streams that have seen nothing: one ``[batch, *row]`` a state pair."""
    rows = [bundle.initial_state(spec) for spec in bundle.manifest.states]
    return [np.repeat(row[None], batch, axis=0) for row in rows]


def _to_graph(spec: TensorSpec, value: np.ndarray) -> np.ndarray:
    """``[time, batch, *row]`` to the graph's own axis order; without a time axis only one step fits."""
    if spec.time_axis is None:
        if value.shape[0] != 1:
            raise EngineError(f"input {spec.name!r} has no time axis and takes one step a call, got {value.shape[0]}")
        value = _moved(value[0], (0,), (spec.batch_axis,))
    else:
        value = _moved(value, (0, 1), (spec.time_axis, spec.batch_axis))
    return np.ascontiguousarray(value, dtype=spec.dtype)


def _from_graph(spec: TensorSpec, value: np.ndarray) -> np.ndarray:
    """The graph's own axis order to ``[time, batch, *row]``."""
    if spec.time_axis is None:
        return _moved(value, (spec.batch_axis,), (0,))[None]
    return _moved(value, (spec.time_axis, spec.batch_axis), (0, 1))


def _moved(value: np.ndarray, source: tuple[int, ...], destination: tuple[int, ...]) -> np.ndarray:
    """What `numpy.moveaxis` gives, without its reckoning in each call."""
    return value if source == destination else value.transpose(_order(value.ndim, source, destination))


@lru_cache(maxsize=256)
def _order(axes: int, source: tuple[int, ...], destination: tuple[int, ...]) -> tuple[int, ...]:
    """The axes' numbers before, in the order in which they stand afterwards."""
    numbers = np.empty((0,) * axes)
    return tuple(np.moveaxis(numbers.reshape(range(axes)), source, destination).shape) if axes else ()


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).strip().splitlines()[0][:300]
