"""TensorRT's classes as far as the runtime calls them, played by ONNX Runtime: a plan is an ONNX graph of one chunk.

Tensors are read from and written to the addresses that were set, as a GPU would do it; nothing else is handed over.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import onnxruntime

from edge_rnn.contract.bundle import Bundle
from edge_rnn.contract.tensorrt import Library
from exporters.decompose.chunk import decompose_bundle
from runtime.engines.planned import PlannedStep
from runtime.engines.tensorrt import planned_step

TYPES = {"tensor(float)": np.float32, "tensor(int64)": np.int64}
CHUNKS = (1, 2, 4)


class Logger:
    Severity = SimpleNamespace(ERROR="error", INTERNAL_ERROR="internal", INFO="info")

    def log(self, severity: str, message: str) -> None:
        raise NotImplementedError


class Runtime:
    def __init__(self, log: Logger) -> None:
        self._log = log

    def deserialize_cuda_engine(self, plan: bytes) -> Engine | None:
        try:
            return Engine(self._log, plan)
        except Exception as error:
            self._log.log(Logger.Severity.ERROR, str(error))
            return None


class Engine:
    def __init__(self, log: Logger, plan: bytes) -> None:
        self.log = log
        self.session = onnxruntime.InferenceSession(plan, providers=["CPUExecutionProvider"])
        self.inputs = {node.name: node for node in self.session.get_inputs()}
        self.tensors = self.inputs | {node.name: node for node in self.session.get_outputs()}
        self.num_io_tensors = len(self.tensors)

    def get_tensor_name(self, number: int) -> str:
        return list(self.tensors)[number]

    def get_tensor_mode(self, name: str) -> str:
        return "in" if name in self.inputs else "out"

    def get_tensor_dtype(self, name: str) -> str:
        return str(self.tensors[name].type)

    def create_execution_context(self, strategy: str) -> Context:
        assert strategy == "mine"
        return Context(self)


class Context:
    """Knows addresses and shapes only, and takes the batch of all outputs from the inputs."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        wanted = self._engine.tensors[name].shape
        if len(wanted) != len(shape) or any(isinstance(w, int) and w != s for w, s in zip(wanted, shape, strict=True)):
            return False
        self._shapes[name] = shape
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        if name in self._shapes:
            return self._shapes[name]
        sizes = {
            dim: size
            for given, shape in self._shapes.items()
            for dim, size in zip(self._engine.tensors[given].shape, shape, strict=True)
        }
        return tuple(dim if isinstance(dim, int) else sizes[dim] for dim in self._engine.tensors[name].shape)

    def update_device_memory_size_for_shapes(self) -> int:
        assert set(self._shapes) == set(self._engine.inputs)
        return WORKSPACE

    def set_device_memory(self, address: int, size: int) -> None:
        assert size == WORKSPACE
        self._memory = (ctypes.c_byte * size).from_address(address)

    def set_tensor_address(self, name: str, address: int) -> None:
        self._addresses[name] = address

    def execute_async_v3(self, queue: int) -> bool:
        assert queue == QUEUE.ptr
        engine = self._engine
        try:
            feed = {name: self._at(name) for name in engine.inputs}
            ctypes.memset(self._memory, 1, WORKSPACE)
            names = [name for name in engine.tensors if name not in engine.inputs]
            for name, value in zip(names, engine.session.run(names, feed), strict=True):
                self._at(name)[...] = value
        except Exception as error:
            engine.log.log(Logger.Severity.ERROR, str(error))
            return False
        return True

    def _at(self, name: str) -> np.ndarray:
        shape, dtype = self.get_tensor_shape(name), np.dtype(TYPES[self._engine.tensors[name].type])
        room = (ctypes.c_byte * (int(np.prod(shape)) * dtype.itemsize)).from_address(self._addresses[name])
        return np.frombuffer(room, dtype).reshape(shape)


WORKSPACE = 4096
QUEUE = SimpleNamespace(ptr=7)
MODULE = SimpleNamespace(
    ILogger=Logger,
    Runtime=Runtime,
    TensorIOMode=SimpleNamespace(INPUT="in", OUTPUT="out"),
    nptype=TYPES.__getitem__,
    ExecutionContextAllocationStrategy=SimpleNamespace(USER_MANAGED="mine"),
)
PLAYED = Library(MODULE, "tensorrt", "10.3")


def played_step(bundle: Bundle, chunks: tuple[int, ...] = CHUNKS) -> PlannedStep:
    """A bundle's step function by engines of these chunks."""
    return planned_step(bundle, PLAYED, {chunk: decompose_bundle(bundle, chunk).graph for chunk in chunks}, np, QUEUE)


class Recording:
    """Records as CUDA does: the body is run some times before, and what repeats it fills the same arrays. Counts."""

    def __init__(self, rehearsals: int = 3) -> None:
        self.rehearsals = rehearsals
        self.made = 0

    def __call__(self, body: Callable[[], None], /) -> Callable[[], object]:
        for _ in range(self.rehearsals):
            body()
        self.made += 1
        return lambda: body()
