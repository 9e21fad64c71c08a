"""Two workers on two cores beside one, with a model so large that the broker is not the limit."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.benchmarks.site import Site, ratio_of
from tests.benchmarks.workload import Workload

EVENTS = 150_000
"""Five to seven seconds: in two, half a second of joining and of small first batches was a fifth of it."""

ONE, TWO, THREADED = "ours confluent --threads 1", "ours confluent --workers 2", "ours confluent"


def workers(site: Site) -> None:
    """A 2-layer LSTM of 512. Without flags one worker takes both cores, too: that is told beside."""
    help_ = [sys.executable, "-m", "edge_rnn.cli", "run", "--help"]
    known = subprocess.run(help_, capture_output=True, text=True, check=True, env={**os.environ, "COLUMNS": "200"})
    if "--workers" not in known.stdout:
        site.skipped["two workers"] = "edge-rnn run has no --workers yet"
        return
    runs = site.compare("workers", [ONE, TWO, THREADED], "lstm512", Workload(4000, EVENTS))
    threaded = ratio_of(runs, THREADED, ONE)
    site.reached(
        "two workers: of one with a thread", ratio_of(runs, TWO, ONE), 1.5, note=f"one with two threads: {threaded:.2f}"
    )
