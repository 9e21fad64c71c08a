"""A step graph over arrays that stay where they are: its tensors are bound by address, by ONNX Runtime or TensorRT."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from edge_rnn.contract.errors import EngineError
from edge_rnn.contract.signature import Dim, Manifest, TensorSpec


class Runner(Protocol):
    """A graph as its library runs it: contiguous arrays in by name, and room for all results. Raises any exception."""

    def __call__(self, feed: Mapping[str, Any], results: Mapping[str, Any], /) -> None: ...


class BoundSession:
    """ONNX Runtime with IO binding on ``device``: ``cuda`` with CuPy's arrays, ``cpu`` with NumPy's. See `Runner`."""

    def __init__(
        self,
        session: Any,
        device: str,
        settle: Callable[[], object] = lambda: None,
        options: Callable[[], Any] | None = None,
        *,
        graphs: bool = True,
    ) -> None:
        """``settle`` waits until what the array module has begun is done, where the session has a queue of its own.

        ``options`` makes a run's options. ``graphs``: a session that records CUDA graphs has one graph for each set of
        arrays that it is given, and each run of them says which by its options.
        """
        self._session = session
        self._device = device
        self._settle = settle
        self._options = options
        self._by_arrays = graphs
        self._graphs: dict[tuple[int, ...], Any] = {}

    def __call__(self, feed: Mapping[str, Any], results: Mapping[str, Any], /) -> None:
        """Run, and wait for the end unless the options say otherwise."""
        binding = self._session.io_binding()
        for name, value in feed.items():
            binding.bind_input(name, self._device, 0, value.dtype.type, value.shape, address(value))
        for name, value in results.items():
            binding.bind_output(name, self._device, 0, value.dtype.type, value.shape, address(value))
        self._settle()
        if self._options is None:
            self._session.run_with_iobinding(binding)
            return
        arrays: tuple[int, ...] = ()
        if self._by_arrays:
            arrays = tuple(
                number for value in (*feed.values(), *results.values()) for number in (address(value), value.size)
            )
        if arrays not in self._graphs:
            self._graphs[arrays] = self._options()
            if self._by_arrays:
                self._graphs[arrays].add_run_config_entry("gpu_graph_id", str(len(self._graphs)))
        self._session.run_with_iobinding(binding, self._graphs[arrays])


class BoundStep:
    """A graph over arrays of ``xp``, in the canonical layout; see `DeviceStep`."""

    def __init__(
        self,
        manifest: Manifest,
        run: Runner,
        xp: Any,
        constants: Mapping[str, np.ndarray],
        *,
        fixed: bool = False,
        aligned: int = 1,
    ) -> None:
        """``constants``: the values of the manifest's constant inputs.

        ``fixed``: calls of the same size always use the same arrays, as a recorded graph needs it; what a call gives
        is then good until the next one of its size. ``aligned``: inputs begin at addresses that are multiples of
        so many bytes. Raises `EngineError` where streams take turns.
        """
        if manifest.batch_limit is not None:
            raise EngineError(
                f"the step graph of {manifest.name!r} takes one stream a call, which does not pay on a device; run it on the CPU"
            )
        self.manifest = manifest
        self._runner = run
        self._xp = xp
        self._aligned = aligned
        self._fixed: dict[tuple[int, int], tuple[dict[str, Any], dict[str, Any]]] | None = {} if fixed else None
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
        if self._fixed is None:
            feed, results = self._contiguous(feed), self._results(sizes)
        else:
            if (steps, batch) not in self._fixed:
                kept = {name: self._xp.array(value) for name, value in self._contiguous(feed).items()}
                self._fixed[steps, batch] = kept, self._results(sizes)
            kept, results = self._fixed[steps, batch]
            for name, value in feed.items():
                kept[name][...] = value
            feed = kept
        self._run(feed, results)
        outputs = [self._from_graph(spec, results[spec.name]) for spec in manifest.outputs]
        return outputs, [self._xp.moveaxis(results[spec.output], spec.batch_axis, 0) for spec in manifest.states]

    def _contiguous(self, feed: Mapping[str, Any]) -> dict[str, Any]:
        found = {name: self._xp.ascontiguousarray(value) for name, value in feed.items()}
        return {name: value.copy() if address(value) % self._aligned else value for name, value in found.items()}

    def _results(self, sizes: Mapping[str, int]) -> dict[str, Any]:
        """Room for all outputs and new states of a call."""
        results = {spec.name: self._room(spec.shape, spec.dtype, sizes) for spec in self.manifest.outputs}
        return results | {spec.output: self._room(spec.shape, spec.dtype, sizes) for spec in self.manifest.states}

    def _run(self, feed: Mapping[str, Any], results: Mapping[str, Any]) -> None:
        try:
            self._runner(feed, results)
        except Exception as error:  # each library raises classes of its own, which share no base
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


def address(value: Any) -> int:
    """Where an array's data lies: CuPy's and NumPy's say it in two ways."""
    return int(value.data.ptr) if hasattr(value.data, "ptr") else int(value.ctypes.data)
