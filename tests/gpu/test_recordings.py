"""CUDA graphs on a GPU: TensorRT's calls are recorded, no recording steps a stream, results are those of eager calls."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_rnn.contract.tensorrt import installed_library, present_gpu
from tests.gpu.engines import tensorrt
from tests.runtime.engines.cases import bundle_of


def test_calls_are_recorded_and_equal_to_eager_ones(
    cupy: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    library = installed_library()
    if library is None or present_gpu() not in library.gpus():
        pytest.skip(f"no TensorRT here that builds for {present_gpu()}")
    bundle = bundle_of("lstm", tmp_path)
    recorded, eager = tensorrt(bundle), tensorrt(bundle)
    assert recorded._calls is not None
    eager._calls = None
    for engine in (recorded, eager):
        engine.reset(np.arange(60))
    rng = np.random.default_rng(0)
    for streams, steps in [(1, 1), (8, 4), (60, 2), (33, 1), (60, 8)]:
        slots = rng.permutation(60)[:streams]
        x = rng.standard_normal((steps, streams, 3)).astype(np.float32)
        before = recorded.read(np.arange(60))
        recorded._calls._make(steps, 64)
        assert (recorded.read(np.arange(60)) == before).all()
        found, expected = recorded.run(slots, [x])[0][0], eager.run(slots, [x])[0][0]
        assert np.abs(found - expected).max() <= 1e-5
    assert "cannot be recorded" not in caplog.text
