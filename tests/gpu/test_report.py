"""The report's own counting, and what it is without a GPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from edge_rnn.contract.tensorrt import present_gpu
from tests.gpu.__main__ import Count


def test_outcomes_are_counted_by_engine_and_reasons_kept() -> None:
    count = Count()
    for engine, when, outcome in [
        ("cuda", "setup", "passed"),
        ("cuda", "call", "passed"),
        ("cuda", "call", "failed"),
        ("tensorrt", "setup", "skipped"),
    ]:
        node = f"tests/gpu/test_conformance.py::test_engine[{engine}/a_case/lstm]"
        told = ("file", 3, "Skipped: no TensorRT here") if outcome == "skipped" else None
        count.pytest_runtest_logreport(SimpleNamespace(nodeid=node, when=when, outcome=outcome, longrepr=told))  # type: ignore[arg-type]
    assert count.outcomes == {"passed": 1, "failed": 1, "skipped": 1}
    assert count.engines == {"cuda": {"passed": 1, "failed": 1}, "tensorrt": {"skipped": 1}}
    assert count.reasons == {"Skipped: no TensorRT here"}


def test_report_without_a_gpu_says_so_and_ends_with_1(tmp_path: Path) -> None:
    if present_gpu() is not None:
        pytest.skip("there is a GPU here")
    call = [sys.executable, "-m", "tests.gpu"]
    done = subprocess.run(
        call, env={**os.environ, "OUT": str(tmp_path / "out")}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["seen"] is False
    assert report["reason"]
