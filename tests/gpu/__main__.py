"""All that a GPU can show, as a report: ``python -m tests.gpu [--out FOLDER]``, by default ``$OUT`` or ``gpu-out``.

Times an LSTM of 2 x 512 beside torch and the provider without device state, then runs the tests of this folder:
conformance of each engine with calls and snapshots under way, CUDA graphs, spill, memory that host and device share,
generation, a daemon that is killed. Writes ``report.json``, anew after each part, and ``log.txt``. Ends with 1 where there
is no GPU, a test fails, or there is no time left for one (``--minutes``); what was skipped is told with its reason.

``--rehearse`` does the same without a GPU, NumPy in its place and small sizes: that shows that the parts fit together, and
nothing of a GPU.

How to bring its wheels to a machine without a package index, in parts: docs/gpu.md.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_rnn.contract.errors import EdgeRnnError
from edge_rnn.contract.tensorrt import installed_library
from runtime.engines.cupy_device import import_cupy, shares_memory

TESTS = ("kernels", "under_way", "recordings", "cuda", "generate", "killed", "conformance", "report")
"""Files of tests, in this order."""

LATE = "there was no time left"

REHEARSAL = {"batches": (1, 8), "seconds": 0.02, "size": 64}
"""Sizes of a benchmark that is only to be gone through."""


def main() -> int:
    """Write the report; 1 where something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(os.environ.get("OUT", "gpu-out")))
    parser.add_argument("--rehearse", action="store_true")
    parser.add_argument("--tests", default=None, help="which tests, as pytest's -k")
    parser.add_argument("--minutes", type=float, default=9.0, help="tests that would begin later are skipped, and said")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    if given.rehearse:
        from tests.gpu import pretend

        pretend.install()
    report: dict[str, Any] = {"machine": platform.platform(), "seen": False}
    with (given.out / "log.txt").open("w") as log, contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
        try:
            report |= _machine(import_cupy(), given.rehearse)
            os.environ["EDGE_RNN_GPU"] = "rehearsal" if given.rehearse else "1"
            for part, make in _parts(given.rehearse, given.tests, time.monotonic() + 60 * given.minutes).items():
                _write(given.out, report)
                began = time.monotonic()
                report[part] = make()
                report.setdefault("took_s", {})[part] = round(time.monotonic() - began, 1)
        except EdgeRnnError as error:
            report["reason"] = str(error)
    _write(given.out, report)
    print(json.dumps(report, indent=2))
    tests = report.get("tests", {"outcomes": {"failed": 1}})
    whole = not tests["outcomes"].get("failed") and f"Skipped: {LATE}" not in tests["skipped"]
    return 0 if whole and (report["seen"] or given.rehearse) else 1


def _write(out: Path, report: dict[str, Any]) -> None:
    (out / "report.json").write_text(json.dumps(report, indent=2) + "\n")


def _machine(cupy: Any, rehearsal: bool) -> dict[str, Any]:
    import onnxruntime

    device, library = cupy.cuda.runtime.getDeviceProperties(0), installed_library()
    return {
        "seen": not rehearsal,
        "rehearsal": rehearsal,
        "gpu": device["name"].decode(),
        "capability": f"sm_{device['major']}{device['minor']}",
        "shares_memory": shares_memory(cupy),
        "cupy": cupy.__version__,
        "driver": cupy.cuda.runtime.driverGetVersion(),
        "onnxruntime": onnxruntime.__version__,
        "tensorrt": None if library is None else f"{library.name} {library.version}",
    }


def _parts(rehearsal: bool, tests: str | None, end: float) -> dict[str, Callable[[], dict[str, Any]]]:
    def benchmark() -> dict[str, Any]:
        from tests.gpu.benchmark import compare

        with tempfile.TemporaryDirectory() as folder:
            return compare(import_cupy(), Path(folder), **(REHEARSAL if rehearsal else {}))  # type: ignore[arg-type]

    def suite() -> dict[str, Any]:
        count, chosen = Count(end), ["-k", tests] if tests else []
        files = [str(Path(__file__).parent / f"test_{name}.py") for name in TESTS]
        pytest.main(["-v", "-p", "no:cacheprovider", *chosen, *files], plugins=[count])
        return {
            "outcomes": dict(count.outcomes),
            "failed": count.failed,
            "conformance": {engine: dict(outcomes) for engine, outcomes in count.engines.items()},
            "skipped": sorted(count.reasons),
        }

    return {"lstm_2x512_one_step_fp32_no_tf32": benchmark, "tests": suite}


class Count:
    """Counts outcomes as the tests end, those of the conformance suite by engine."""

    def __init__(self, end: float = float("inf")) -> None:
        """``end``: no test begins later, by the monotonic clock."""
        self._end = end
        self.outcomes: Counter[str] = Counter()
        self.engines: dict[str, Counter[str]] = {}
        self.reasons: set[str] = set()
        self.failed: list[str] = []

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        if time.monotonic() > self._end:
            pytest.skip(LATE)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "call" and report.outcome == "passed":
            return
        self.outcomes[report.outcome] += 1
        if report.outcome == "failed":
            self.failed.append(report.nodeid)
        if "test_conformance.py" in report.nodeid:
            engine = report.nodeid.partition("[")[2].partition("/")[0]
            self.engines.setdefault(engine, Counter())[report.outcome] += 1
        if report.outcome == "skipped":
            self.reasons.add(str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else str(report.longrepr))


if __name__ == "__main__":
    sys.exit(main())
