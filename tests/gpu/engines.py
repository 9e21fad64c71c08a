"""The engines of a GPU, opened for the tests: ONNX Runtime's CUDA provider, and TensorRT with engines built here."""

from __future__ import annotations

import os
from functools import lru_cache, partial
from pathlib import Path

import pytest

from edge_rnn.contract.bundle import Bundle
from edge_rnn.contract.tensorrt import find_library, installed_library, present_gpu
from exporters.tensorrt.ahead import build_engines
from runtime.engines.cuda import WAYS, Way, open_cuda_engine
from runtime.engines.device import DeviceEngine
from runtime.engines.tensorrt import open_tensorrt_engine
from tests.runtime.engines.cases import Opener

FEW = 7
"""Rows of a device that has to spill."""


def rehearsed() -> bool:
    """Whether NumPy is in the place of a GPU; see `tests.gpu.pretend`."""
    return os.environ.get("EDGE_RNN_GPU") == "rehearsal"


def daemons_module() -> str:
    """What runs as ``edge-rnn``."""
    return "tests.gpu.pretend" if rehearsed() else "edge_rnn.cli"


def needs_tensorrt() -> None:
    """Skip where its library is missing, or does not build for this GPU."""
    library = installed_library()
    if library is None or present_gpu() not in library.gpus():
        pytest.skip(f"no TensorRT here that builds for {present_gpu()}")


@lru_cache
def cache_of(path: Path) -> Path:
    """The folder with a bundle's engines, built for the GPU that is present."""
    from edge_rnn.contract.bundle import open_bundle

    folder = path.with_name(f"{path.name}.engines")
    build_engines(open_bundle(path), find_library(), present_gpu(), folder)
    return folder


def tensorrt(bundle: Bundle, rows: int | None = None) -> DeviceEngine:
    """TensorRT's engine of a bundle."""
    return open_tensorrt_engine(bundle, cache_of(bundle.path), rows=rows)


def cuda(bundle: Bundle, rows: int | None = None, *, way: Way = WAYS[0], shared: bool | None = None) -> DeviceEngine:
    """ONNX Runtime's engine of a bundle, in this way and no other."""
    return open_cuda_engine(bundle, rows=rows, way=way, shared=shared, plainer=False)


ENGINES: dict[str, Opener] = {
    "cuda": cuda,
    "cuda-recorded": partial(cuda, way="recorded"),
    "cuda-graphs": partial(cuda, way="graphs"),
    "cuda-queued": partial(cuda, way="queued"),
    "cuda-waiting": partial(cuda, way="waiting"),
    "cuda-spilling": partial(cuda, rows=FEW),
    "cuda-shared": partial(cuda, shared=True),
    "tensorrt": tensorrt,
    "tensorrt-spilling": partial(tensorrt, rows=FEW),
}
