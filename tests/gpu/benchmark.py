"""An LSTM of 2 x 512 on a GPU, side by side: our engines, the CUDA provider without device state, torch eager.

All in fp32 without TF32. Each call steps a batch drawn anew from four times as many streams by one step: ours gathers and
scatters by slot on the device, torch does the same by index on its own tensors, the provider without device state goes
up and down with states in each call. Rounds alternate, so that a GPU that gets warm slows all alike.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edge_rnn.contract.bundle import Bundle
from edge_rnn.contract.errors import EdgeRnnError
from edge_rnn.contract.stepgraph import first_states
from runtime.engines.cuda import open_cuda_engine
from runtime.engines.cupy_device import ThroughHost
from runtime.engines.protocol import Engine
from tests.gpu.engines import tensorrt
from tests.models_for_tests import make_bundle

BATCHES = (1, 64, 256, 1024, 4096)
ROUNDS, WARM, SPREAD = 200, 20, 4
HIDDEN, LAYERS, FEATURES = 512, 2, 16


def compare(cupy: Any, folder: Path) -> list[dict[str, Any]]:
    """For each batch, seconds a call of each (median and 99th percentile), and ratios beside ours."""
    bundle = make_bundle(folder / "lstm512", "lstm", inputs=FEATURES, hidden=HIDDEN, layers=LAYERS)
    return [_at(cupy, bundle, batch) for batch in BATCHES]


def _at(cupy: Any, bundle: Bundle, batch: int) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1, batch, FEATURES)).astype(np.float32)
    picks = [rng.permutation(SPREAD * batch)[:batch] for _ in range(8)]
    engine = open_cuda_engine(bundle)
    calls = {"cuda": _ours(engine, picks, x), "cuda without device state": _up_and_down(cupy, bundle, engine, picks, x)}
    left_out: dict[str, str] = {}
    for name, make in {
        "tensorrt": lambda: _ours(tensorrt(bundle), picks, x),
        "torch": lambda: _torch(picks, x),
    }.items():
        try:
            calls[name] = make()
        except (EdgeRnnError, RuntimeError) as error:
            left_out[name] = str(error)
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(WARM + ROUNDS):
        for name, call in calls.items():
            began = time.perf_counter()
            call(number)
            if number >= WARM:
                seconds[name].append(time.perf_counter() - began)
    medians = {name: float(np.median(values)) for name, values in seconds.items()}
    best = min(medians[name] for name in ("cuda", "tensorrt") if name in medians)
    return {
        "batch": batch,
        "p50_s": medians,
        "p99_over_p50": {name: float(np.quantile(values, 0.99)) / medians[name] for name, values in seconds.items()},
        "ours_is_times_as_fast_as": {name: value / best for name, value in medians.items()},
        "left_out": left_out,
    }


def _ours(engine: Engine, picks: list[np.ndarray], x: np.ndarray) -> Callable[[int], None]:
    streams = SPREAD * x.shape[1]
    engine.grow(streams)
    engine.reset(np.arange(streams))
    return lambda number: (engine.run(picks[number % 8], [x]), None)[1]


def _up_and_down(
    cupy: Any, bundle: Bundle, engine: Any, picks: list[np.ndarray], x: np.ndarray
) -> Callable[[int], None]:
    plain = ThroughHost(engine.step, cupy)
    held = [np.repeat(value, SPREAD, axis=0) for value in first_states(bundle, x.shape[1])]

    def call(number: int) -> None:
        slots = picks[number % 8]
        _, new = plain([x], [value[slots] for value in held])
        for value, state in zip(held, new, strict=True):
            value[slots] = state

    return call


def _torch(picks: list[np.ndarray], x: np.ndarray) -> Callable[[int], None]:
    """torch eager, its states gathered and scattered by slot on the GPU, input up and output down in each call."""
    import torch

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    model = torch.nn.LSTM(FEATURES, HIDDEN, LAYERS).cuda().eval()
    head = torch.nn.Linear(HIDDEN, 2).cuda().eval()
    h, c = (torch.zeros(LAYERS, SPREAD * x.shape[1], HIDDEN, device="cuda") for _ in range(2))

    def call(number: int) -> None:
        with torch.inference_mode():
            index = torch.from_numpy(picks[number % 8]).cuda()
            y, (new_h, new_c) = model(torch.from_numpy(x).cuda(), (h[:, index], c[:, index]))
            h[:, index], c[:, index] = new_h, new_c
            head(y).cpu()

    return call
