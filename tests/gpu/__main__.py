"""All that a GPU can show, as a report: ``python -m tests.gpu [--out FOLDER]``, by default ``$OUT`` or ``gpu-out``.

Runs the tests of this folder (conformance of each engine, CUDA graphs, spill, a daemon that is killed), then times an
LSTM of 2 x 512 beside torch and the provider without device state. Writes ``report.json`` and ``log.txt``. Ends with 1
where there is no GPU or a test fails; what was skipped is in the report with its reason.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from edge_rnn.contract.errors import EdgeRnnError
from edge_rnn.contract.tensorrt import installed_library
from runtime.engines.cupy_device import import_cupy


def main() -> int:
    """Write the report; 1 where something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(os.environ.get("OUT", "gpu-out")))
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    report: dict[str, Any] = {"machine": platform.platform()}
    try:
        cupy = import_cupy()
        with (out / "log.txt").open("w") as log, contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
            report |= _seen(cupy)
    except EdgeRnnError as error:
        report |= {"seen": False, "reason": str(error)}
    (out / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report, indent=2))
    return 0 if report["seen"] and not report["tests"].get("failed") else 1


def _seen(cupy: Any) -> dict[str, Any]:
    from tests.gpu.benchmark import compare

    os.environ["EDGE_RNN_GPU"] = "1"
    device, library, count = cupy.cuda.runtime.getDeviceProperties(0), installed_library(), Count()
    pytest.main(["-v", "-p", "no:cacheprovider", str(Path(__file__).parent)], plugins=[count])
    with tempfile.TemporaryDirectory() as folder:
        rates = compare(cupy, Path(folder))
    return {
        "seen": True,
        "gpu": device["name"].decode(),
        "capability": f"sm_{device['major']}{device['minor']}",
        "tensorrt": None if library is None else f"{library.name} {library.version}",
        "tests": dict(count.outcomes),
        "conformance": {engine: dict(outcomes) for engine, outcomes in count.engines.items()},
        "skipped": sorted(count.reasons),
        "lstm_2x512_one_step_fp32_no_tf32": rates,
    }


class Count:
    """Counts outcomes as the tests end, those of the conformance suite by engine."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.engines: dict[str, Counter[str]] = {}
        self.reasons: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "call" and report.outcome == "passed":
            return
        self.outcomes[report.outcome] += 1
        if "test_conformance.py" in report.nodeid:
            engine = report.nodeid.partition("[")[2].partition("/")[0]
            self.engines.setdefault(engine, Counter())[report.outcome] += 1
        if report.outcome == "skipped":
            self.reasons.add(str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else str(report.longrepr))


if __name__ == "__main__":
    sys.exit(main())
