"""How many nodes a recorded call has: kernels, copies and fills, as the driver counts them while it records."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

from runtime.engines.cupy_device import DRIVER
from runtime.engines.device import DeviceEngine

RECORDING = 1
"""The driver's number for a queue that is being recorded."""


def nodes_of(engine: DeviceEngine, steps: int, bucket: int) -> int | None:
    """Nodes of the recording of a call of this size; ``None`` where nothing is recorded, or the driver does not say."""
    record, calls = engine.calls._record, engine.calls
    if record is None or engine.how not in ("fused", "recorded"):
        return None
    found: list[int | None] = []

    def counting(body: Callable[[], None]) -> Callable[[], object]:
        def counted() -> None:
            body()
            found.append(_recorded_so_far(engine._device.queue._stream.ptr))  # type: ignore[attr-defined]

        return record(counted)

    with engine._turn():
        calls._make(steps, bucket, calls._places[0], counting)
    return found[-1]


def _recorded_so_far(stream: int) -> int | None:
    try:
        driver: Any = ctypes.CDLL(DRIVER)
        ask = driver.cuStreamGetCaptureInfo_v2
    except (OSError, AttributeError):
        return None
    status, number = ctypes.c_int(), ctypes.c_ulonglong()
    graph, before, count = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_size_t()
    told = [ctypes.byref(each) for each in (status, number, graph, before, count)]
    if ask(ctypes.c_void_p(stream), *told) or status.value != RECORDING:
        return None
    nodes = ctypes.c_size_t()
    return None if driver.cuGraphGetNodes(graph, None, ctypes.byref(nodes)) else nodes.value
