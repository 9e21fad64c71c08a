"""TensorRT's engines at run time, a chunk of steps each: opened from a plan, bound by address, put into a queue.

``tensorrt`` and ``tensorrt_rtx`` alike: both have the calls used here. Not seen on a GPU so far.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from edge_rnn.contract.errors import EngineError
from edge_rnn.contract.plans import binary_chunks
from edge_rnn.contract.signature import Manifest
from edge_rnn.contract.tensorrt import Library, logger, told_error
from runtime.core.device import ALIGNMENT
from runtime.engines.bound import BoundStep, Runner, address


class PlanRunner:
    """One engine. Runs in the order of the queue that ``queue`` names, and does not wait; see `Runner`.

    Each set of shapes has a context of its own, with memory for these shapes: what a context keeps of its shapes on the
    device belongs to what was recorded with it, and must not change. What it is given is checked against the engine before an address is handed over: the device would write anywhere.
    """

    def __init__(
        self, library: Library, plan: bytes, what: str, queue: Callable[[], int], room: Callable[[int], Any]
    ) -> None:
        """``plan``: the engine's bytes; ``what`` it is, for messages; ``queue``: the handle of the CUDA stream to use;
        ``room``: an array of so many bytes on the device.

        Raises `EngineError` when it cannot be opened here.
        """
        self._module = library.module
        self._queue = queue
        self._room = room
        self._contexts: dict[tuple[tuple[int, ...], ...], tuple[Any, Any]] = {}
        self._told: list[str] = []
        self._log = logger(self._module, self._told)
        self._what = f"{library.name} {library.version} cannot open the engine of {what}"
        # The engine needs the runtime for as long as it lives.
        self._runtime = self._made(lambda: self._module.Runtime(self._log))
        self._engine = self._made(lambda: self._runtime.deserialize_cuda_engine(plan))
        names = [self._engine.get_tensor_name(number) for number in range(self._engine.num_io_tensors)]
        into = self._module.TensorIOMode.INPUT
        self._inputs = {name for name in names if self._engine.get_tensor_mode(name) == into}
        self._types = {name: np.dtype(self._module.nptype(self._engine.get_tensor_dtype(name))) for name in names}

    def _made(self, make: Callable[[], Any]) -> Any:
        try:
            made = make()
        except Exception as error:  # the two libraries raise classes of their own
            raise EngineError(f"{self._what}: {error}; {_REMEDY}") from error
        if made is None:
            raise EngineError(f"{self._what}: {told_error(self._told)}; {_REMEDY}")
        return made

    def __call__(self, feed: Mapping[str, Any], results: Mapping[str, Any], /) -> None:
        """Put one run into the queue; the arrays must live until it is done. Raises `EngineError`."""
        if set(feed) != self._inputs or set(results) != set(self._types) - self._inputs:
            raise EngineError(
                f"the engine takes {sorted(self._inputs)}, got {sorted(feed)} and room for {sorted(results)}"
            )
        context = self._context_of(feed)
        for name, value in {**feed, **results}.items():
            shape = tuple(context.get_tensor_shape(name))
            if shape != tuple(value.shape) or self._types[name] != value.dtype:
                raise EngineError(
                    f"the engine has {name!r} as {self._types[name]}{list(shape)}, got {value.dtype}{list(value.shape)}"
                )
            context.set_tensor_address(name, address(value))
        self._told.clear()
        if not context.execute_async_v3(self._queue()):
            raise EngineError(f"the engine does not run: {told_error(self._told)}")

    def _context_of(self, feed: Mapping[str, Any]) -> Any:
        """The context of these shapes."""
        key = tuple(tuple(feed[name].shape) for name in sorted(feed))
        if key not in self._contexts:
            strategy = self._module.ExecutionContextAllocationStrategy.USER_MANAGED
            context = self._made(lambda: self._engine.create_execution_context(strategy))
            for name, value in feed.items():
                if not context.set_input_shape(name, tuple(value.shape)):
                    raise EngineError(f"the engine does not take {name!r} of shape {list(value.shape)}")
            size = int(context.update_device_memory_size_for_shapes())
            room = self._room(max(size, 1))
            context.set_device_memory(address(room), size)
            self._contexts[key] = context, room
        return self._contexts[key][0]


_REMEDY = "build it on this device (edge-rnn export --target tensorrt), or run with --device cpu"


class PlannedStep:
    """The engines of all chunks behind one step function for any number of steps; see `DeviceStep`."""

    def __init__(
        self, manifest: Manifest, runners: Mapping[int, Runner], xp: Any, constants: Mapping[str, np.ndarray]
    ) -> None:
        """``runners`` by chunk, 1, 2, 4, ... without a gap. Raises `EngineError` where streams take turns."""
        left = tuple(
            spec for spec in manifest.constants if spec.batch_axis is not None
        )  # the others stand in the graph
        manifest = msgspec.structs.replace(manifest, constants=left)
        self._xp = xp
        self._steps = {
            chunk: BoundStep(manifest, run, xp, constants, aligned=ALIGNMENT) for chunk, run in runners.items()
        }

    def __call__(self, inputs: Sequence[Any], states: Sequence[Any], /) -> tuple[list[Any], list[Any]]:
        """Run one call as binary chunks, smallest first. Raises `EngineError`."""
        sizes = binary_chunks(inputs[0].shape[0], max(self._steps))
        if len(sizes) == 1:
            return self._steps[sizes[0]](inputs, states)
        parts: list[list[Any]] = []
        now, start = list(states), 0
        for size in sizes:
            outputs, now = self._steps[size]([value[start : start + size] for value in inputs], now)
            parts.append(outputs)
            start += size
        return [self._xp.concatenate(values) for values in zip(*parts, strict=True)], now
