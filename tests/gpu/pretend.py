"""NumPy under the names of CuPy, and ONNX Runtime's CPU under that of its CUDA provider: a rehearsal of ``tests/gpu``.

Without a GPU it shows that all that runs on one is called as it has to be, in our own code; nothing of CuPy, CUDA or
speed. ``python -m tests.gpu.pretend run ...`` is ``edge-rnn run`` on it.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys
import time
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime

from edge_rnn.contract.bundle import Bundle
from runtime.engines import cuda
from tests.runtime.device.compiled import HostKernel, has_compiler


class DeviceError(RuntimeError):
    """CuPy's CUDARuntimeError."""


class Stream:
    ptr = 7

    def __init__(self, non_blocking: bool = False) -> None:
        assert non_blocking, "the default stream waits for all others"

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *given: object) -> None:
        pass

    def synchronize(self) -> None:
        pass

    def wait_event(self, event: Event) -> None:
        assert event.recorded

    def begin_capture(self) -> None:
        raise DeviceError("nothing can be recorded here")


class Event:
    def __init__(self, disable_timing: bool = False) -> None:
        self.recorded = False
        self.time = 0.0

    def record(self, stream: Stream) -> None:
        self.recorded, self.time = True, time.perf_counter()

    @property
    def done(self) -> bool:
        return self.recorded

    def synchronize(self) -> None:
        assert self.recorded


class PinnedMemory:
    def __init__(self, size: int, flags: int = 0) -> None:
        self.array = np.full(size, 0xC7, np.uint8)
        self.ptr = self.array.ctypes.data


def array(shape: tuple[int, ...], dtype: Any, memory: PinnedMemory) -> np.ndarray:
    """``cupy.ndarray`` at an address."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    room = (ctypes.c_uint8 * size).from_address(memory.ptr)
    return np.frombuffer(room, dtype).reshape(shape)


def move(target: int, source: int, size: int, kind: int, stream: int) -> None:
    assert stream == Stream.ptr
    ctypes.memmove(target, source, size)


class Cupy(ModuleType):
    """NumPy's functions, and those of CuPy that NumPy lacks."""

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)


def cupy() -> Cupy:
    """A module as far as this project uses CuPy."""
    module = Cupy("cupy")
    module.__version__ = "0 (NumPy in its place)"
    runtime = SimpleNamespace(
        CUDARuntimeError=DeviceError,
        hostAllocMapped=2,
        getDeviceCount=lambda: 1,
        getDeviceProperties=lambda number: {"name": b"no GPU: a rehearsal on the CPU", "major": 0, "minor": 0},
        deviceGetAttribute=lambda attribute, number: 0,
        driverGetVersion=lambda: 0,
        memcpyAsync=move,
    )
    module.cuda = SimpleNamespace(
        Stream=Stream,
        Event=Event,
        PinnedMemory=PinnedMemory,
        PinnedMemoryPointer=lambda memory, offset: memory.array,
        UnownedMemory=lambda address, size, owner: owner,
        MemoryPointer=lambda memory, offset: memory,
        MemoryPool=lambda: SimpleNamespace(malloc=None),
        using_allocator=lambda malloc: contextlib.nullcontext(),
        alloc_pinned_memory=lambda size: np.full(size, 0xC7, np.uint8),
        Device=lambda: SimpleNamespace(mem_info=(1 << 30, 1 << 30)),
        memory=SimpleNamespace(OutOfMemoryError=MemoryError),
        runtime=runtime,
        get_elapsed_time=lambda begin, end: 1e3 * (end.time - begin.time),
    )
    module.ndarray = array
    module.get_default_memory_pool = lambda: SimpleNamespace(free_all_blocks=lambda: None)
    module.asnumpy = np.array
    if has_compiler():
        module.RawKernel = HostKernel
    return module


class OnCpu:
    """A session that takes arrays of the CPU where it is told that they are of the GPU."""

    def __init__(self, bundle: Bundle) -> None:
        self._session = onnxruntime.InferenceSession(str(bundle.graph_path), providers=["CPUExecutionProvider"])

    def io_binding(self) -> Any:
        binding = self._session.io_binding()

        def on_cpu(bind: Any) -> Any:
            def bound(name: str, device: str, *more: Any) -> None:
                assert device in ("cuda", "cpu")
                bind(name, "cpu", *more)

            return bound

        return SimpleNamespace(
            inner=binding, bind_input=on_cpu(binding.bind_input), bind_output=on_cpu(binding.bind_output)
        )

    def run_with_iobinding(self, binding: Any, options: Any = None) -> None:
        self._session.run_with_iobinding(binding.inner, options)


def install() -> None:
    """From now on there is something like a GPU in this process."""
    sys.modules["cupy"] = cupy()
    sys.modules["cupyx"] = SimpleNamespace(empty_pinned=np.empty)  # type: ignore[assignment]
    cuda._session = lambda bundle, graphs=False, queue=None: OnCpu(bundle)


if __name__ == "__main__":
    from edge_rnn.cli.main import main

    install()
    sys.exit(main())
