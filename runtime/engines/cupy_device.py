"""CuPy as an NVIDIA GPU: found, its memory, its queues, and CUDA graphs. Not seen on a GPU so far."""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from edge_rnn.contract.bundle import Bundle
from edge_rnn.contract.errors import EngineError, MissingDependency
from edge_rnn.contract.signature import Manifest, StateSpec
from runtime.core.device import Device, Mark, Pair
from runtime.core.moves import Moves, PlainMoves
from runtime.engines.bound import address
from runtime.engines.kernel_check import check_moves
from runtime.engines.kernel_moves import KernelMoves

log = logging.getLogger("edge_rnn.engines")

SHARE = 0.5
"""Of the memory that is free, what states may take; the rest is for the model and its calls."""

MOST_ROWS = 1 << 20

DRIVER = "libcuda.so.1"

INTEGRATED, CAN_MAP, UNIFIED_ADDRESSES = 18, 19, 41
"""CUDA's numbers for these attributes of a device."""

TO_DEVICE, TO_HOST = 1, 2
"""CUDA's numbers for the direction of a copy."""


def driver_there() -> bool:
    """Whether NVIDIA's driver is installed."""
    try:
        ctypes.CDLL(DRIVER)
    except OSError:
        return False
    return True


def import_cupy() -> Any:
    """CuPy, with a GPU that it can use; what is missing is named, the driver first. Raises `MissingDependency`, `EngineError`."""
    try:
        import cupy
    except ImportError as error:
        if not driver_there():
            raise EngineError(
                f"no GPU can be used: NVIDIA's driver ({DRIVER}) is not there; install it, then pip install 'edge-rnn[gpu]',"
                " or run on the CPU"
            ) from error
        raise MissingDependency(
            f"a GPU needs CuPy, which cannot be imported ({error}); pip install 'edge-rnn[gpu]', or cupy-cuda12x for CUDA 12"
        ) from error
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise EngineError(f"no GPU can be used: {error}; install NVIDIA's driver, or run on the CPU") from error
    if not count:
        raise EngineError("no GPU can be used: the driver shows none; run on the CPU")
    return cupy


@contextmanager
def room_told(cupy: Any, bundle: Bundle) -> Iterator[None]:
    """Raises `EngineError` in place of CuPy's own error where the device has no room."""
    try:
        yield
    except cupy.cuda.memory.OutOfMemoryError as error:
        raise EngineError(
            f"the GPU has no room for {bundle.manifest.name!r}: {error}; give fewer rows, or run it on the CPU"
        ) from error
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise EngineError(f"the GPU failed on {bundle.manifest.name!r}: {error}; run it on the CPU") from error


def rows_that_fit(cupy: Any, state_bytes: int) -> int:
    """How many streams' states are on the device at once, of what is free there now."""
    free, _ = cupy.cuda.Device().mem_info
    return max(1, min(MOST_ROWS, int(SHARE * free) // max(1, state_bytes)))


def pinned(spec: StateSpec, capacity: int, before: np.ndarray | None) -> np.ndarray:
    """Rows in memory that a GPU copies from and to directly; see `runtime.core.arena.Rows`."""
    import cupyx

    rows: np.ndarray = cupyx.empty_pinned((capacity, *spec.row_shape), spec.dtype)
    if before is not None:
        rows[: len(before)] = before
    return rows


def shares_memory(cupy: Any) -> bool:
    """Whether CPU and GPU have one memory (a Jetson): the GPU is integrated, and reads the host's addresses."""
    attribute = cupy.cuda.runtime.deviceGetAttribute
    return all(attribute(number, 0) for number in (INTEGRATED, CAN_MAP, UNIFIED_ADDRESSES))


def kernel_moves(cupy: Any, manifest: Manifest) -> KernelMoves | None:
    """Rows moved by kernels of our own, once they have moved some of this manifest's as plain statements do.

    In the stream that is current. ``None``, with a warning, where they do not, or cannot be compiled.
    """

    def compiler(source: str, name: str) -> Any:
        try:
            kernel = cupy.RawKernel(source, name)
            kernel.compile()
        except Exception as error:  # CuPy has classes of its own for what the compiler, the driver and the disk refuse
            told = (str(error) or type(error).__name__).strip().splitlines()[0][:300]
            raise EngineError(f"{name} cannot be compiled for this GPU: {told}") from error
        return kernel

    moves = KernelMoves(cupy, compiler)
    try:
        check_moves(moves, manifest, cupy)
    except (EngineError, RuntimeError) as error:
        log.warning("states of %r are moved by CuPy's own kernels, which are more: %s", manifest.name, error)
        return None
    return moves


def cuda_device(cupy: Any, queue: Any, shared: bool | None = None, moves: Moves | None = None) -> Device:
    """The GPU as the core uses it; ``queue``: a stream of CuPy's, where it computes.

    ``moves``: how rows are moved, by default by CuPy's own statements. ``shared``: whether it uses memory that it shares with the host; by default where it has no other.
    """
    xp, shared = cupy, shares_memory(cupy) if shared is None else shared

    def room(size: int) -> Pair:
        if shared:
            memory = cupy.cuda.PinnedMemory(size, cupy.cuda.runtime.hostAllocMapped)
            host = np.ndarray((size,), np.uint8, cupy.cuda.PinnedMemoryPointer(memory, 0))
            # with unified addresses the device sees it where the host does
            there = cupy.cuda.MemoryPointer(cupy.cuda.UnownedMemory(memory.ptr, size, memory), 0)
            return Pair(host, xp.ndarray((size,), np.uint8, there))
        return Pair(np.ndarray((size,), np.uint8, cupy.cuda.alloc_pinned_memory(size)), xp.empty(size, np.uint8))

    copies = queue if shared else cupy.cuda.Stream(non_blocking=True)
    queues = CudaQueue(cupy, queue), CudaQueue(cupy, copies)
    return Device(xp, *queues, room, moves or PlainMoves(xp), shared, lambda: queue)


class CudaQueue:
    """A CUDA stream as a queue; see `runtime.core.device.Queue`."""

    def __init__(self, cupy: Any, stream: Any) -> None:
        self._cupy = cupy
        self._stream = stream

    def put(self, work: Callable[[], object]) -> None:
        """Launch its kernels."""
        with self._stream:
            work()

    def copy(self, source: Any, target: Any) -> None:
        """A copy between pinned memory and the device's."""
        kind = TO_DEVICE if isinstance(source, np.ndarray) else TO_HOST
        if source.nbytes:
            self._cupy.cuda.runtime.memcpyAsync(address(target), address(source), source.nbytes, kind, self._stream.ptr)

    def mark(self) -> Mark:
        """An event."""
        event = self._cupy.cuda.Event(disable_timing=True)
        event.record(self._stream)
        return _Event(event)

    def follow(self, mark: Mark) -> None:
        """Wait for an event on the device."""
        assert isinstance(mark, _Event)
        self._stream.wait_event(mark.event)


class _Event:
    """An event of a CUDA stream as a mark."""

    def __init__(self, event: Any) -> None:
        self.event = event

    def passed(self) -> bool:
        """Whether it has happened."""
        return bool(self.event.done)

    def wait(self) -> None:
        """Until it has."""
        self.event.synchronize()


class CudaGraphs:
    """Records what a body puts into a queue as a CUDA graph; see `runtime.engines.recorded.Recorder`.

    The body is run once before: libraries load and kernels are compiled then, which a recording may not do. Memory is
    taken from a pool that belongs to the recording, so that nobody else ever gets what a repetition writes to. Where
    the driver refuses a recording, the body itself is what repeats it.
    """

    def __init__(self, cupy: Any, queue: Any) -> None:
        """``queue``: a stream of CuPy's that is not the default one, which cannot be recorded."""
        self._cupy = cupy
        self._queue = queue
        self.refused = 0
        """Recordings that could not be made."""

    def __call__(self, body: Callable[[], None], /) -> Callable[[], object]:
        """Run, record, and give what repeats it."""
        pool = self._cupy.cuda.MemoryPool()
        with self._cupy.cuda.using_allocator(pool.malloc), self._queue:
            body()
            self._queue.synchronize()
            try:
                graph = self._recorded(body)
            except (self._cupy.cuda.runtime.CUDARuntimeError, EngineError) as error:
                self.refused += 1
                log.warning("a call cannot be recorded as a CUDA graph; it is made anew each time: %s", error)
                return body

        def replay() -> None:
            assert pool is not None  # it keeps the recording's memory
            graph.launch(self._queue)

        return replay

    def _recorded(self, body: Callable[[], None]) -> Any:
        self._queue.begin_capture()
        try:
            body()
        finally:
            graph = self._queue.end_capture()
        return graph
