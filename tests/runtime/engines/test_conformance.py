"""All engines on this machine, those of a GPU with NumPy in place of its memory; ``tests/gpu`` runs the same on one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from edge_rnn.contract.bundle import Bundle
from runtime.core.device import Device, at_once
from runtime.engines.bound import BoundSession, BoundStep
from runtime.engines.cpu import open_cpu_engine
from runtime.engines.device import DeviceEngine, DeviceStep
from runtime.engines.protocol import Engine
from runtime.engines.recorded import Recorder, repeat
from tests.runtime.device.compiled import compiled
from tests.runtime.device.late import Numpy, late_device
from tests.runtime.engines.cases import Case, Opener, all_of, bundle_of
from tests.runtime.tensorrt.played import Recording, played_step

FEW, ENOUGH = 7, 6000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("engines")


def cpu(bundle: Bundle) -> Engine:
    return open_cpu_engine(bundle)


def bound(rows: int | None, make: Callable[[], Device] = at_once) -> Opener:
    def opener(bundle: Bundle) -> Engine:
        session = onnxruntime.InferenceSession(str(bundle.graph_path), providers=["CPUExecutionProvider"])
        step = BoundStep(bundle.manifest, BoundSession(session, "cpu"), np, bundle.constants())
        return device(bundle, step, rows, None, make())

    return opener


def fixed(rows: int | None, make: Callable[[], Device] = at_once) -> Opener:
    """As ONNX Runtime's own CUDA graphs need it: buckets of streams, and the same arrays in all calls of a size."""

    def opener(bundle: Bundle) -> Engine:
        session = onnxruntime.InferenceSession(str(bundle.graph_path), providers=["CPUExecutionProvider"])
        run = BoundSession(session, "cpu", options=onnxruntime.RunOptions)
        return device(bundle, BoundStep(bundle.manifest, run, np, bundle.constants(), fixed=True), rows, repeat, make())

    return opener


def played(rows: int | None, record: Recorder | None, make: Callable[[], Device] = at_once) -> Opener:
    return lambda bundle: device(bundle, played_step(bundle), rows, record, make())


def device(bundle: Bundle, step: DeviceStep, rows: int | None, record: Recorder | None, on: Device) -> DeviceEngine:
    first = [bundle.initial_state(spec) for spec in bundle.manifest.states]
    return DeviceEngine(bundle.manifest, step, first, on, rows, record=record)


ENGINES: dict[str, Opener] = {
    "cpu": cpu,
    "bound": bound(ENOUGH),
    "bound-spilling": bound(FEW),
    "fixed": fixed(ENOUGH),
    "fixed-spilling": fixed(FEW),
    "planned": played(ENOUGH, None),
    "planned-spilling": played(FEW, None),
    "recorded": played(ENOUGH, Recording()),
    "recorded-spilling": played(FEW, Recording()),
    "late": played(ENOUGH, Recording(), late_device),
    "late-spilling": bound(FEW, late_device),
    "late-fixed": fixed(ENOUGH, late_device),
    "kernels": bound(ENOUGH, lambda: at_once(moves=compiled())),
    "kernels-spilling": played(FEW, Recording(), lambda: at_once(moves=compiled())),
    "kernels-fixed": fixed(ENOUGH, lambda: at_once(moves=compiled())),
    "kernels-late": played(ENOUGH, Recording(), lambda: late_device(moves=compiled(Numpy()))),
    "kernels-shared": played(None, Recording(), lambda: late_device(shared=True, moves=compiled(Numpy()))),
    "late-shared": played(None, Recording(), lambda: late_device(shared=True)),
}


@pytest.mark.parametrize(("engine", "case", "cell"), all_of(ENGINES))
def test_engine(engine: str, case: Case, cell: str, folder: Path) -> None:
    case(ENGINES[engine], bundle_of(cell, folder), 1e-5)
