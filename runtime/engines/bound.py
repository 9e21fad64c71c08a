"""A step graph in ONNX Runtime whose inputs and outputs stay where they are, by IO binding."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from edge_rnn.contract.errors import EngineError
from edge_rnn.contract.signature import Dim, Manifest, TensorSpec


class BoundStep:
    """A session over arrays of ``xp`` on ``device`` (``cuda`` with CuPy, ``cpu`` with NumPy); see `DeviceStep`."""

    def __init__(
        self,
        manifest: Manifest,
        session: Any,
        xp: Any,
        device: str,
        constants: Mapping[str, np.ndarray],
        settle: Callable[[], object] = lambda: None,
    ) -> None:
        """``constants``: the values of the manifest's constant inputs; ``settle`` waits until what ``xp`` has begun is done.

        Raises `EngineError` where streams take turns.
        """
        if manifest.batch_limit is not None:
            raise EngineError(
                f"the step graph of {manifest.name!r} takes one stream a call, which does not pay on a device; run it on the CPU"
            )
        self.manifest = manifest
        self._session = session
        self._xp = xp
        self._device = device
        self._settle = settle
        self._constants = {
            spec.name: (xp.asarray(constants[spec.name], spec.dtype), spec.batch_axis) for spec in manifest.constants
        }

    def __call__(self, inputs: Sequence[Any], states: Sequence[Any], /) -> tuple[list[Any], list[Any]]:
        """Run one call on the device. Raises `EngineError` when the graph fails."""
        manifest, (steps, batch) = self.manifest, inputs[0].shape[:2]
        feed = {
            name: value if axis is None else self._xp.repeat(self._xp.expand_dims(value, axis), batch, axis)
            for name, (value, axis) in self._constants.items()
        }
        feed |= {spec.name: self._to_graph(spec, value) for spec, value in zip(manifest.inputs, inputs, strict=True)}
        for state, value in zip(manifest.states, states, strict=True):
            feed[state.input] = self._xp.moveaxis(value, 0, state.batch_axis)
        sizes = {"time": steps, "batch": batch}
        results = {spec.name: self._room(spec.shape, spec.dtype, sizes) for spec in manifest.outputs}
        results |= {spec.output: self._room(spec.shape, spec.dtype, sizes) for spec in manifest.states}
        feed = {name: self._xp.ascontiguousarray(value) for name, value in feed.items()}
        self._run(feed, results)
        outputs = [self._from_graph(spec, results[spec.name]) for spec in manifest.outputs]
        return outputs, [self._xp.moveaxis(results[spec.output], spec.batch_axis, 0) for spec in manifest.states]

    def _run(self, feed: Mapping[str, Any], results: Mapping[str, Any]) -> None:
        try:
            binding = self._session.io_binding()
            for name, value in feed.items():
                binding.bind_input(name, self._device, 0, value.dtype.type, value.shape, _address(value))
            for name, value in results.items():
                binding.bind_output(name, self._device, 0, value.dtype.type, value.shape, _address(value))
            self._settle()  # the session has a queue of its own, and waits for its end itself
            self._session.run_with_iobinding(binding)
        except Exception as error:  # onnxruntime raises its own classes, which share no base
            shapes = {name: value.shape for name, value in feed.items()}
            told = (str(error) or type(error).__name__).strip().splitlines()[0][:300]
            raise EngineError(f"the step graph of {self.manifest.name!r} failed on {shapes}: {told}") from error

    def _room(self, shape: Sequence[Dim], dtype: str, sizes: Mapping[str, int]) -> Any:
        return self._xp.empty(tuple(dim if isinstance(dim, int) else sizes[dim] for dim in shape), dtype)

    def _to_graph(self, spec: TensorSpec, value: Any) -> Any:
        """``[time, batch, *row]`` to the graph's own axis order; without a time axis only one step fits."""
        value = value.astype(spec.dtype, copy=False)
        if spec.time_axis is not None:
            return self._xp.moveaxis(value, (0, 1), (spec.time_axis, spec.batch_axis))
        if value.shape[0] != 1:
            raise EngineError(f"input {spec.name!r} has no time axis and takes one step a call, got {value.shape[0]}")
        return self._xp.moveaxis(value[0], 0, spec.batch_axis)

    def _from_graph(self, spec: TensorSpec, value: Any) -> Any:
        """The graph's own axis order to ``[time, batch, *row]``."""
        if spec.time_axis is None:
            return self._xp.moveaxis(value, spec.batch_axis, 0)[None]
        return self._xp.moveaxis(value, (spec.time_axis, spec.batch_axis), (0, 1))


def _address(value: Any) -> int:
    """Where an array's data lies: CuPy's and NumPy's say it in two ways."""
    return int(value.data.ptr) if hasattr(value.data, "ptr") else int(value.ctypes.data)
