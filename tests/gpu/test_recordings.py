"""CUDA graphs on a GPU: calls are recorded, no recording steps a stream, results are those of eager calls."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.engines.cuda import WAYS, open_cuda_engine
from tests.gpu.engines import cuda, needs_tensorrt, rehearsed, tensorrt
from tests.gpu.nodes import nodes_of
from tests.runtime.engines.cases import bundle_of

STREAMS = 60


@pytest.mark.parametrize("kind", ["cuda", "tensorrt"])
def test_calls_are_recorded_and_equal_to_eager_ones(
    cupy: Any, tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    bundle = bundle_of("lstm", tmp_path)
    if kind == "tensorrt":
        needs_tensorrt()
        recorded, eager = tensorrt(bundle), tensorrt(bundle)
        eager.calls._record = None
    else:
        recorded, eager = cuda(bundle), cuda(bundle, way="queued")
    for engine in (recorded, eager):
        engine.grow(STREAMS)
        engine.reset(np.arange(STREAMS))
    rng = np.random.default_rng(0)
    for streams, steps in [(1, 1), (8, 4), (60, 2), (33, 1), (60, 8)]:
        slots = rng.permutation(STREAMS)[:streams]
        x = rng.standard_normal((steps, streams, 3)).astype(np.float32)
        before = recorded.read(np.arange(STREAMS))
        with recorded._turn():
            recorded.calls._make(steps, 64, recorded.calls._places[0], recorded.calls._record)
        assert (recorded.read(np.arange(STREAMS)) == before).all()
        found, expected = recorded.run(slots, [x])[0][0], eager.run(slots, [x])[0][0]
        assert np.abs(found - expected).max() <= 1e-5
    assert rehearsed() or "cannot be recorded" not in caplog.text
    assert recorded.calls.made
    assert not eager.calls.made


def test_kernels_of_ours_take_the_place_of_most_of_a_call(cupy: Any, tmp_path: Path) -> None:
    """Both give the same; the driver counts what is in each recording."""
    if rehearsed():
        pytest.skip("NumPy records no CUDA graph")
    bundle = bundle_of("lstm", tmp_path)
    fused, plain = nodes_of(cuda(bundle), 1, 64), nodes_of(cuda(bundle, way="recorded"), 1, 64)
    if fused is None or plain is None:
        pytest.skip("this driver does not count what it records")
    assert fused <= plain - 20


def test_whole_call_of_the_cuda_provider_is_one_graph(cupy: Any, tmp_path: Path) -> None:
    """It opens so, repeats the golden vectors so, and no recording is refused: no plainer way has to be taken."""
    if rehearsed():
        pytest.skip("NumPy records no CUDA graph")
    engine = open_cuda_engine(bundle_of("lstm", tmp_path))
    assert engine.how == WAYS[0]
    assert engine.calls._record is not None
    assert engine.calls._record.refused == 0
