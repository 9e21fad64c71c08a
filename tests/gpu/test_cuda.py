"""The CUDA engine beside the CPU engine: outputs, states, spill, snapshots, and what it says when there is no room."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edge_rnn.contract.bundle import Bundle
from edge_rnn.contract.errors import EngineError
from edge_rnn.contract.plans import TOLERANCES
from edge_rnn.contract.verification import verify_bundle
from runtime.engines.cpu import open_cpu_engine
from runtime.engines.cuda import open_cuda_engine
from runtime.engines.cupy_device import ThroughHost
from tests.models_for_tests import make_bundle

CELLS = ("lstm", "gru", "elman", "jordan")
STREAMS = 50
TOLERANCE = TOLERANCES["fp32"]


@pytest.fixture(scope="module", params=CELLS)
def bundle(cupy: Any, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("gpu") / request.param, request.param, hidden=64, layers=2)


def test_cuda_engine_passes_the_gates(cupy: Any, bundle: Bundle) -> None:
    engine = open_cuda_engine(bundle)
    verify_bundle(bundle, ThroughHost(engine.step, cupy), tolerance=TOLERANCE)
    assert engine.works()


@pytest.mark.parametrize("rows", [7, 4096])
def test_cuda_engine_keeps_to_the_cpu_engine_whether_or_not_streams_spill(bundle: Bundle, rows: int) -> None:
    plain, device = open_cpu_engine(bundle), open_cuda_engine(bundle, rows=rows)
    rng = np.random.default_rng(0)
    for engine in (plain, device):
        engine.grow(STREAMS)
        engine.reset(np.arange(STREAMS))
    for _ in range(30):
        slots = rng.permutation(STREAMS)[: rng.integers(1, STREAMS)]
        x = rng.standard_normal((1 << rng.integers(6), slots.size, 3)).astype(np.float32)
        (expected, _), (found, good) = plain.run(slots, [x]), device.run(slots, [x])
        assert good.all()
        for value, reference in zip(found, expected, strict=True):
            assert np.abs(value - reference).max() <= TOLERANCE * max(1.0, float(np.abs(reference).max()))
    assert (device.arena.saved > 0) == (rows < STREAMS)
    states = [engine.read(np.arange(STREAMS)).view(np.float32) for engine in (plain, device)]
    assert np.abs(states[0] - states[1]).max() <= TOLERANCE


def test_snapshot_of_the_cpu_engine_goes_on_in_the_cuda_engine(bundle: Bundle) -> None:
    plain, device = open_cpu_engine(bundle), open_cuda_engine(bundle)
    slots, x = np.arange(4), np.random.default_rng(1).standard_normal((5, 4, 3)).astype(np.float32)
    plain.reset(slots)
    plain.run(slots, [x])
    rows = plain.read(slots)
    device.write(slots, rows)
    assert (device.read(slots) == rows).all()
    found, expected = device.run(slots, [x])[0], plain.run(slots, [x])[0]
    assert np.abs(found[0] - expected[0]).max() <= TOLERANCE


def test_cuda_engine_without_room_for_its_rows_says_so(bundle: Bundle) -> None:
    with pytest.raises(EngineError, match="has no room"):
        open_cuda_engine(bundle, rows=1 << 36)
