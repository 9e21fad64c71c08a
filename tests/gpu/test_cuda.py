"""The CUDA engine beside the CPU engine: outputs, states, spill, snapshots, and what it says when there is no room."""

from __future__ import annotations

from typing import Any

import pytest

from edge_rnn.contract.bundle import Bundle
from edge_rnn.contract.errors import EngineError
from edge_rnn.contract.plans import TOLERANCES
from edge_rnn.contract.verification import verify_bundle
from runtime.engines.cuda import open_cuda_engine
from runtime.engines.through import ThroughHost
from tests.models_for_tests import make_bundle

CELLS = ("lstm", "gru", "elman", "jordan")
STREAMS = 50
TOLERANCE = TOLERANCES["fp32"]


@pytest.fixture(scope="module", params=CELLS)
def bundle(cupy: Any, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("gpu") / request.param, request.param, hidden=64, layers=2)


def test_cuda_engine_passes_the_gates(cupy: Any, bundle: Bundle) -> None:
    engine = open_cuda_engine(bundle)
    with engine._turn():
        verify_bundle(bundle, ThroughHost(engine.step, cupy), tolerance=TOLERANCE)
    assert engine.works()


def test_cuda_engine_without_room_for_its_rows_says_so(bundle: Bundle) -> None:
    with pytest.raises(EngineError, match="has no room"):
        open_cuda_engine(bundle, rows=1 << 36)
