"""The engines of a GPU, opened for the tests: ONNX Runtime's CUDA provider, and TensorRT with engines built here."""

from __future__ import annotations

from functools import lru_cache, partial
from pathlib import Path

from edge_rnn.contract.bundle import Bundle
from edge_rnn.contract.tensorrt import find_library, present_gpu
from exporters.tensorrt.ahead import build_engines
from runtime.engines.cuda import open_cuda_engine
from runtime.engines.device import DeviceEngine
from runtime.engines.tensorrt import open_tensorrt_engine
from tests.runtime.engines.cases import Opener

FEW = 7
"""Rows of a device that has to spill."""


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


def cuda(bundle: Bundle, rows: int | None = None) -> DeviceEngine:
    """ONNX Runtime's engine of a bundle."""
    return open_cuda_engine(bundle, rows=rows)


ENGINES: dict[str, Opener] = {
    "cuda-eager": partial(open_cuda_engine, graphs=False),
    "cuda": cuda,
    "cuda-spilling": partial(cuda, rows=FEW),
    "tensorrt": tensorrt,
    "tensorrt-spilling": partial(tensorrt, rows=FEW),
}
