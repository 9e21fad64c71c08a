"""What is timed on a GPU: our engines, the CUDA provider without device state, and torch eager. A call is one step.

Each call steps a batch drawn anew from `SPREAD` times as many streams. Ours gathers and scatters by slot on the device;
torch does the same by index on its own tensors, with the input up from pinned memory and the output down; the provider
without device state takes the states along, up and down. All in fp32 without TF32.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np

from edge_rnn.contract.bundle import Bundle
from edge_rnn.contract.stepgraph import first_states
from runtime.engines import cuda
from runtime.engines.bound import BoundSession, BoundStep
from runtime.engines.protocol import OverlappingEngine

HIDDEN, LAYERS, FEATURES, OUTPUTS = 512, 2, 16, 2
SPREAD, PICKS = 4, 8

Call = Callable[[int], None]


class Batch:
    """Inputs of so many streams, ``float32[1, batch, FEATURES]``, and some draws of which streams they are."""

    def __init__(self, size: int) -> None:
        rng = np.random.default_rng(size)
        self.size, self.streams = size, SPREAD * size
        self.x = rng.standard_normal((1, size, FEATURES)).astype(np.float32)
        self.picks = [rng.permutation(self.streams)[:size] for _ in range(PICKS)]

    def slots(self, number: int) -> np.ndarray:
        return self.picks[number % PICKS]


def ready(engine: OverlappingEngine, batch: Batch) -> None:
    engine.grow(batch.streams)
    engine.reset(np.arange(batch.streams))


def ours(engine: OverlappingEngine, batch: Batch) -> Call:
    """One call, and its results."""
    ready(engine, batch)

    def call(number: int) -> None:
        engine.run(batch.slots(number), [batch.x])

    return call


def ours_two_under_way(engine: OverlappingEngine, batch: Batch) -> Call:
    """One call begun behind the one before, whose results are then taken."""
    ready(engine, batch)
    under_way: deque[Any] = deque()

    def call(number: int) -> None:
        under_way.append(engine.begin(batch.slots(number), [batch.x]))
        if len(under_way) > 1:
            under_way.popleft().result()

    def over() -> None:
        while under_way:
            under_way.popleft().result()

    call.over = over  # type: ignore[attr-defined]
    return call


def up_and_down(bundle: Bundle, batch: Batch) -> Call:
    """The CUDA provider with the states in host memory: it takes all inputs from there, and brings all results back."""
    plain = BoundStep(bundle.manifest, BoundSession(cuda._session(bundle), "cpu"), np, bundle.constants())
    held = [np.repeat(value, SPREAD, axis=0) for value in first_states(bundle, batch.size)]

    def call(number: int) -> None:
        slots = batch.slots(number)
        _, new = plain([batch.x], [value[slots] for value in held])
        for value, state in zip(held, new, strict=True):
            value[slots] = state

    return call


def torch_eager(batch: Batch) -> tuple[Call, Call]:
    """torch: one call and its result; and the same with the result taken while the next call is under way."""
    import torch

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    rehearsal = os.environ.get("EDGE_RNN_GPU") == "rehearsal"
    device = "cpu" if rehearsal else "cuda"
    model = torch.nn.LSTM(FEATURES, HIDDEN, LAYERS).to(device).eval()
    head = torch.nn.Linear(HIDDEN, OUTPUTS).to(device).eval()
    h, c = (torch.zeros(LAYERS, batch.streams, HIDDEN, device=device) for _ in range(2))

    def pinned(value: np.ndarray) -> Any:
        found = torch.from_numpy(value)
        return found if rehearsal else found.pin_memory()

    x, picks = pinned(batch.x), [pinned(pick) for pick in batch.picks]
    rooms = [pinned(np.empty((1, batch.size, OUTPUTS), np.float32)) for _ in range(2)]
    behind: deque[Any] = deque()

    def begin(number: int) -> Any:
        index = picks[number % PICKS].to(device, non_blocking=True)
        y, (new_h, new_c) = model(x.to(device, non_blocking=True), (h[:, index], c[:, index]))
        h[:, index], c[:, index] = new_h, new_c
        return head(y)

    def call(number: int) -> None:
        with torch.inference_mode():
            begin(number).cpu()

    def call_behind(number: int) -> None:
        with torch.inference_mode():
            rooms[number % 2].copy_(begin(number), non_blocking=True)
        if not rehearsal:
            behind.append(torch.cuda.Event())
            behind[-1].record()
        if len(behind) > 1:
            behind.popleft().synchronize()

    return call, call_behind
