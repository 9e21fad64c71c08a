"""``edge-rnn`` whose ``--device cpu`` is a device with room for some streams only, and queues that do all work late.

Its model is ONNX Runtime's on the CPU, so that outputs are those of the CPU bit for bit. ``python -m
tests.daemon.on_late_device run ...``; ``EDGE_RNN_TEST_ROWS``: streams on the device, ``shared`` for memory that both share.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import numpy as np
import onnxruntime

from edge_rnn.cli.main import main
from edge_rnn.contract.bundle import Bundle
from runtime.engines import devices
from runtime.engines.bound import BoundSession, BoundStep
from runtime.engines.device import DeviceEngine
from runtime.engines.tuning import Tuning
from tests.runtime.device.late import late_device


def open_late_engine(bundle: Bundle, **_: Any) -> DeviceEngine:
    """In place of `runtime.engines.cpu.open_cpu_engine`."""
    session = onnxruntime.InferenceSession(str(bundle.graph_path), providers=["CPUExecutionProvider"])
    step = BoundStep(bundle.manifest, BoundSession(session, "cpu"), np, bundle.constants())
    first = [bundle.initial_state(spec) for spec in bundle.manifest.states]
    given = os.environ.get("EDGE_RNN_TEST_ROWS", "16")
    rows = None if given == "shared" else int(given)
    device = late_device(np.random.default_rng(os.getpid()), shared=rows is None)
    return DeviceEngine(bundle.manifest, step, first, device, rows, tuning=Tuning(streams=8))


if __name__ == "__main__":
    devices.open_cpu_engine = open_late_engine  # type: ignore[assignment]
    sys.exit(main())
