"""What every engine has to do, on a GPU. TensorRT is left out, and said so, where its library does not build for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edge_rnn.contract.plans import TOLERANCES
from tests.gpu.engines import ENGINES, needs_tensorrt
from tests.runtime.engines.cases import Case, all_of, bundle_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("engines")


@pytest.mark.parametrize(("engine", "case", "cell"), all_of(ENGINES))
def test_engine(cupy: Any, engine: str, case: Case, cell: str, folder: Path) -> None:
    if engine.startswith("tensorrt"):
        needs_tensorrt()
    case(ENGINES[engine], bundle_of(cell, folder), TOLERANCES["fp32"])
