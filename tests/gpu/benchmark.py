"""An LSTM of 2 x 512 on a GPU: each peer's time a call at several batches, the ratios that are wanted, and the bound.

Peers take turns in blocks of calls, so that a GPU that gets warm slows all alike. The bound is of a product in fp32 and of a
copy within the device's memory, both timed here, on this device.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edge_rnn.contract.bundle import Bundle
from edge_rnn.contract.errors import EdgeRnnError
from runtime.engines.cuda import open_cuda_engine
from tests.gpu.engines import tensorrt
from tests.gpu.nodes import nodes_of
from tests.gpu.peers import FEATURES, HIDDEN, LAYERS, Batch, Call, ours, ours_two_under_way, torch_eager, up_and_down
from tests.models_for_tests import make_bundle

BATCHES = (1, 64, 256, 1024, 4096)
BLOCK, WARM, SECONDS, MOST = 20, 20, 1.5, 2000
"""Calls of a block and before the first; for how long each peer is timed at a batch, and in how many calls at most."""

WEIGHTS = 4 * HIDDEN * (FEATURES + HIDDEN + (LAYERS - 1) * 2 * HIDDEN)
STATE_BYTES = 2 * LAYERS * HIDDEN * 4
OURS = ("cuda", "tensorrt")
PLAIN = "cuda, rows moved by CuPy"
"""The same without kernels of ours: what they are worth."""
WITHOUT = "cuda without device state"
TORCH = "torch"
BEHIND = ", two under way"


def compare(
    cupy: Any, folder: Path, *, batches: tuple[int, ...] = BATCHES, seconds: float = SECONDS, size: int = 4096
) -> dict[str, Any]:
    """Seconds a call of each peer at each batch, the bound, and what was wanted beside what was found."""
    bundle = make_bundle(folder / "lstm512", "lstm", inputs=FEATURES, hidden=HIDDEN, layers=LAYERS)
    peak = peaks(cupy, size)
    engines, left_out = opened(bundle)
    rows = [at(bundle, engines, Batch(size), seconds) for size in batches]
    for row in rows:
        row["bound_s"] = bound(row["batch"], peak)
    how = {name: engine.how for name, engine in engines.items()}
    nodes = {name: nodes_of(engine, 1, 64) for name, engine in engines.items()}
    return {
        "peaks": peak,
        "how": how,
        "nodes_of_a_call": nodes,
        "left_out": left_out,
        "batches": rows,
        "wanted": wanted(rows),
    }


def opened(bundle: Bundle) -> tuple[dict[str, Any], dict[str, str]]:
    """Our engines, and why one is left out."""
    engines, left_out = {}, {}
    makers = {
        "cuda": lambda: open_cuda_engine(bundle),
        PLAIN: lambda: open_cuda_engine(bundle, way="recorded", plainer=False),
        "tensorrt": lambda: tensorrt(bundle),
    }
    for name, make in makers.items():
        try:
            engines[name] = make()
        except EdgeRnnError as error:
            left_out[name] = str(error)
    return engines, left_out


def peaks(cupy: Any, size: int, tries: int = 8) -> dict[str, float]:
    """What this device reaches with matrices of this size: operations a second of a product in fp32, bytes a second."""
    from runtime.engines.cupy_device import cuda_device

    queue = cupy.cuda.Stream(non_blocking=True)
    with queue:
        device = cuda_device(cupy, queue)
        a = cupy.ones((size, size), np.float32)
        b, room = cupy.ones((size, size), np.float32), cupy.empty((size, size), np.float32)
        pair = device.room(a.nbytes)

        def seconds(work: Callable[[], object]) -> float:
            best = float("inf")
            for _ in range(tries):
                queue.synchronize()
                began = time.perf_counter()
                work()
                queue.synchronize()
                best = min(best, time.perf_counter() - began)
            return best

        product = seconds(lambda: cupy.matmul(a, b, out=room))
        copy = seconds(lambda: [room.__setitem__(..., a) for _ in range(8)]) / 8
        up = seconds(lambda: device.up(pair, a.nbytes, device.queue))
        down = seconds(lambda: device.down(pair, a.nbytes, device.queue))
    return {
        "fp32_flops_per_s": 2 * size**3 / product,
        "bytes_per_s": 2 * a.nbytes / copy,
        "up_bytes_per_s": a.nbytes / up,
        "down_bytes_per_s": a.nbytes / down,
    }


def bound(batch: int, peak: dict[str, float]) -> float:
    """Seconds that one step takes at least: its products, or its weights once and its states in and out."""
    return max(
        2 * WEIGHTS * batch / peak["fp32_flops_per_s"], (4 * WEIGHTS + 2 * STATE_BYTES * batch) / peak["bytes_per_s"]
    )


def at(bundle: Bundle, engines: dict[str, Any], batch: Batch, seconds: float) -> dict[str, Any]:
    """Median and 99th percentile of a call of each peer, and its calls a second in a row."""
    calls: dict[str, Call] = {}
    for name, engine in engines.items():
        calls[name] = ours(engine, batch)
        calls[name + BEHIND] = ours_two_under_way(engine, batch)
    if "cuda" in engines:
        calls[WITHOUT] = up_and_down(bundle, batch)
    why: dict[str, str] = {}
    try:
        calls[TORCH], calls[TORCH + BEHIND] = torch_eager(batch)
    except (ImportError, RuntimeError) as error:
        why[TORCH] = str(error).splitlines()[0]
    times = timed(calls, seconds)
    return {
        "batch": batch.size,
        "p50_s": {name: float(np.median(values)) for name, (values, _) in times.items()},
        "p99_s": {name: float(np.quantile(values, 0.99)) for name, (values, _) in times.items()},
        "steps_per_s": {name: batch.size / mean for name, (_, mean) in times.items()},
        "calls": {name: len(values) for name, (values, _) in times.items()},
        "left_out": why,
    }


def timed(calls: dict[str, Call], seconds: float) -> dict[str, tuple[list[float], float]]:
    """Each call's time, and the mean of a call in a row with nothing between, by peer."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    spent = dict.fromkeys(calls, 0.0)
    for call in calls.values():
        block(call, WARM)
    while any(going(times[name], spent[name], seconds) for name in calls):
        for name, call in calls.items():
            if going(times[name], spent[name], seconds):
                began = time.perf_counter()
                times[name] += block(call, BLOCK)
                spent[name] += time.perf_counter() - began
    return {name: (values, spent[name] / len(values)) for name, values in times.items()}


def going(values: list[float], spent: float, seconds: float) -> bool:
    """Whether a peer is to be timed further."""
    return len(values) < MOST and (spent < seconds or len(values) < 2 * BLOCK)


def block(call: Call, count: int) -> list[float]:
    """So many calls in a row."""
    values = []
    for number in range(count):
        began = time.perf_counter()
        call(number)
        values.append(time.perf_counter() - began)
    getattr(call, "over", lambda: None)()
    return values


def wanted(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What was asked for, what was found, and whether that does; ``found`` is ``None`` where a peer is missing."""
    by = {row["batch"]: row for row in rows}

    def rate(batch: int, names: tuple[str, ...]) -> float | None:
        """Of calls whose results are waited for one by one."""
        found = [batch / by[batch]["p50_s"][name] for name in names if batch in by and name in by[batch]["p50_s"]]
        return max(found, default=None)

    def ratio(one: float | None, other: float | None) -> float | None:
        return None if one is None or other is None else one / other

    without = {batch: found for batch in by if (found := rate(batch, (WITHOUT,))) is not None}
    best = max(without, key=lambda batch: without[batch], default=None)
    ours_at_best = None if best is None else rate(best, OURS)
    spread = [by[64]["p99_s"][n] / by[64]["p50_s"][n] for n in OURS if 64 in by and n in by[64]["p50_s"]]
    large = rate(4096, OURS)
    found = [
        ("times torch eager at 64", 3.0, ratio(rate(64, OURS), rate(64, (TORCH,)))),
        ("times torch eager at 4096", 1.2, ratio(large, rate(4096, (TORCH,)))),
        (
            f"times the provider without device state, at its best batch ({best})",
            5.0,
            ratio(ours_at_best, without.get(best)),
        ),
        ("of the bound at 4096", 0.6, None if large is None else by[4096]["bound_s"] * large / 4096),
    ]
    table = [
        {"what": what, "at_least": least, "found": x, "met": None if x is None else x >= least}
        for what, least, x in found
    ]
    least_spread = min(spread, default=None)
    met = None if least_spread is None else least_spread <= 1.3
    return [*table, {"what": "p99 over p50 of a step at 64", "at_most": 1.3, "found": least_spread, "met": met}]
