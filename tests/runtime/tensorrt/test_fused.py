"""How TensorRT's engine moves rows: by kernels of ours, or by plain statements where these do not do."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edge_rnn.contract.bundle import Bundle
from exporters.decompose.chunk import decompose_bundle
from runtime.core.moves import PlainMoves
from runtime.engines import cupy_device, tensorrt
from runtime.engines.kernel_moves import KernelMoves
from tests.gpu import pretend
from tests.models_for_tests import make_bundle
from tests.runtime.device.compiled import HostKernel, needs_compiler
from tests.runtime.tensorrt.played import CHUNKS, PLAYED


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("fused") / "lstm", "lstm", layers=2)


@pytest.fixture
def cupy(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> Any:
    """CuPy played by NumPy, and the library by ONNX Runtime."""
    needs_compiler()
    played, plans = pretend.cupy(), {chunk: decompose_bundle(bundle, chunk).graph for chunk in CHUNKS}
    monkeypatch.setitem(sys.modules, "cupyx", SimpleNamespace(empty_pinned=np.empty))
    monkeypatch.setattr(tensorrt, "import_cupy", lambda: played)
    monkeypatch.setattr(tensorrt, "find_library", lambda: PLAYED)
    monkeypatch.setattr(tensorrt, "find_plans", lambda *given: plans)
    return played


def test_calls_are_fused_and_give_what_plain_statements_give(bundle: Bundle, cupy: Any, tmp_path: Path) -> None:
    fused, plain = (tensorrt.open_tensorrt_engine(bundle, tmp_path, kernels=kernels) for kernels in (True, False))
    assert (fused.how, plain.how) == ("fused", "recorded")
    assert isinstance(fused._device.moves, KernelMoves)
    assert isinstance(plain._device.moves, PlainMoves)
    slots, x = np.arange(5), np.random.default_rng(0).standard_normal((7, 5, 3)).astype(np.float32)
    for engine in (fused, plain):
        engine.grow(5)
        engine.reset(slots)
        engine.run(slots, [x])
    assert (fused.read(slots) == plain.read(slots)).all()


def test_kernels_that_do_not_repeat_the_golden_vectors_are_not_taken(
    bundle: Bundle, cupy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(cupy_device, "check_moves", lambda moves, manifest, xp: None)
    cupy.RawKernel = lambda source, name: HostKernel(source.replace("row != scratch", "row == scratch"), name)
    assert tensorrt.open_tensorrt_engine(bundle, tmp_path).how == "recorded"
    assert "does not make its calls fused" in caplog.text
