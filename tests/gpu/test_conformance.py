"""What every engine has to do, on a GPU. TensorRT is left out, and said so, where its library does not build for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edge_rnn.contract.plans import TOLERANCES
from edge_rnn.contract.tensorrt import installed_library, present_gpu
from tests.gpu.engines import ENGINES
from tests.runtime.engines.cases import Case, all_of, bundle_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("engines")


@pytest.mark.parametrize(("engine", "case", "cell"), all_of(ENGINES))
def test_engine(cupy: Any, engine: str, case: Case, cell: str, folder: Path) -> None:
    if engine.startswith("tensorrt"):
        library = installed_library()
        if library is None or present_gpu() not in library.gpus():
            pytest.skip(f"no TensorRT here that builds for {present_gpu()}")
    case(ENGINES[engine], bundle_of(cell, folder), TOLERANCES["fp32"])
