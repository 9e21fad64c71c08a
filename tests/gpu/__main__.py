"""All that a GPU can show, as a report: ``python -m tests.gpu [--out gpu-report.json]``.

Runs the tests of this folder, then times an LSTM of 2 x 512 with its states on the device beside the same provider with
states that go up and down in each call. Ends with 1 where there is no GPU or a test fails.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_rnn.contract.bundle import Bundle
from edge_rnn.contract.errors import EdgeRnnError
from edge_rnn.contract.stepgraph import first_states
from runtime.engines.cuda import open_cuda_engine
from runtime.engines.cupy_device import ThroughHost, import_cupy
from tests.models_for_tests import make_bundle

BATCHES = (1, 64, 256, 1024, 4096)
ROUNDS, WARM = 200, 20
NOT_COVERED = ("CUDA graphs", "TensorRT engines at run time", "the daemon on a GPU, killed", "torch eager beside")
"""What issue and design ask for on a GPU, and this command does not show."""


def main() -> int:
    """Write the report; 1 where something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("gpu-report.json"))
    out = parser.parse_args().out
    report: dict[str, Any] = {"machine": platform.platform(), "not_covered": NOT_COVERED}
    try:
        report |= _seen(import_cupy())
    except EdgeRnnError as error:
        report |= {"seen": False, "reason": str(error)}
    out.write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report, indent=2))
    return 0 if report["seen"] and report["tests"]["failed"] == report["tests"]["skipped"] == 0 else 1


def _seen(cupy: Any) -> dict[str, Any]:
    os.environ["EDGE_RNN_GPU"] = "1"
    device = cupy.cuda.runtime.getDeviceProperties(0)
    count = _Count()
    pytest.main(["-q", "-p", "no:cacheprovider", str(Path(__file__).parent)], plugins=[count])
    with tempfile.TemporaryDirectory() as folder:
        bundle = make_bundle(Path(folder) / "lstm512", "lstm", inputs=16, hidden=512, layers=2)
        rates = [_compare(cupy, bundle, batch) for batch in BATCHES]
    return {
        "seen": True,
        "gpu": device["name"].decode(),
        "capability": f"sm_{device['major']}{device['minor']}",
        "tests": count.outcomes,
        "lstm_2x512_one_step_fp32_no_tf32": rates,
    }


class _Count:
    """Counts outcomes as the tests end."""

    def __init__(self) -> None:
        self.outcomes = {"passed": 0, "failed": 0, "skipped": 0}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.outcome != "passed":
            self.outcomes[report.outcome] += 1


def _compare(cupy: Any, bundle: Bundle, batch: int) -> dict[str, float]:
    """Seconds a call, and the ratio: streams of the batch are drawn anew from four times as many."""
    engine = open_cuda_engine(bundle)
    engine.grow(4 * batch)
    engine.reset(np.arange(4 * batch))
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1, batch, 16)).astype(np.float32)
    picks = [rng.permutation(4 * batch)[:batch] for _ in range(8)]
    plain = ThroughHost(engine.step, cupy)
    held = [np.repeat(value, 4, axis=0) for value in first_states(bundle, batch)]

    def on_device(number: int) -> None:
        engine.run(picks[number % 8], [x])

    def up_and_down(number: int) -> None:
        slots = picks[number % 8]
        _, new = plain([x], [value[slots] for value in held])
        for value, state in zip(held, new, strict=True):
            value[slots] = state

    mine, theirs = _times(on_device), _times(up_and_down)
    return {
        "batch": batch,
        "p50_s": float(np.median(mine)),
        "p99_s": float(np.quantile(mine, 0.99)),
        "without_device_state_p50_s": float(np.median(theirs)),
        "times_as_fast": float(np.median(theirs) / np.median(mine)),
    }


def _times(call: Callable[[int], None]) -> np.ndarray:
    found = []
    for number in range(WARM + ROUNDS):
        began = time.perf_counter()
        call(number)
        found.append(time.perf_counter() - began)
    return np.array(found[WARM:])


if __name__ == "__main__":
    sys.exit(main())
