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
from tests.gpu.benchmark import STATE_BYTES, WEIGHTS, bound, timed, wanted


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


def row(batch: int, bound_s: float, **seconds: float) -> dict[str, object]:
    return {
        "batch": batch,
        "p50_s": seconds,
        "p99_s": {name: 1.2 * s for name, s in seconds.items()},
        "bound_s": bound_s,
    }


def test_ratios_that_are_wanted_are_of_our_best_engine_and_missing_where_a_peer_is() -> None:
    without = "cuda without device state"
    rows = [
        row(64, 0.1, cuda=2.0, tensorrt=1.0, torch=4.0, **{without: 64.0}),
        row(4096, 0.5, cuda=1.0, torch=1.1, **{without: 400.0}),
    ]
    found = {each["what"]: (each["found"], each["met"]) for each in wanted(rows)}
    assert found["times torch eager at 64"] == (4.0, True)
    assert found["times torch eager at 4096"] == (pytest.approx(1.1), False)
    assert found["times the provider without device state, at its best batch (4096)"] == (pytest.approx(400), True)
    assert found["of the bound at 4096"] == (0.5, False)
    assert found["p99 over p50 of a step at 64"] == (pytest.approx(1.2), True)
    assert {each["found"] for each in wanted([row(1, 0.1, torch=1.0)])} == {None}


def test_bound_is_the_products_or_the_memory() -> None:
    peak = {"fp32_flops_per_s": 6e13, "bytes_per_s": 4e12}
    assert bound(4096, peak) == pytest.approx(2 * WEIGHTS * 4096 / 6e13)
    assert bound(1, peak) == pytest.approx((4 * WEIGHTS + 2 * STATE_BYTES) / 4e12)


def test_peers_take_turns_and_each_gets_its_calls() -> None:
    order: list[str] = []
    found = timed({name: lambda number, name=name: order.append(name) for name in "ab"}, 0.0)  # type: ignore[misc]
    assert {name: len(values) for name, (values, _) in found.items()} == {"a": 40, "b": 40}
    assert order == [*"a" * 20, *"b" * 20] * 3


@pytest.mark.slow
def test_rehearsal_goes_through_all_parts_and_claims_nothing(tmp_path: Path) -> None:
    call = [sys.executable, "-m", "tests.gpu", "--rehearse", "--tests", "generate", "--out", str(tmp_path)]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    report = json.loads((tmp_path / "report.json").read_text())
    assert done.returncode == 0, done.stdout + done.stderr + (tmp_path / "log.txt").read_text()[-3000:]
    assert (report["seen"], report["rehearsal"]) == (False, True)
    assert report["tests"]["outcomes"] == {"passed": 1}
    assert {each["batch"] for each in report["lstm_2x512_one_step_fp32_no_tf32"]["batches"]} == {1, 8}
