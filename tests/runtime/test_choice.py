"""Which engine is taken: the fastest of those that run, with a warning and a metric for each that does not."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_rnn.cli.main import run
from edge_rnn.contract.bundle import Bundle
from edge_rnn.contract.errors import EngineError, GateFailed, MissingDependency
from runtime.engines import cupy_device, devices
from runtime.engines.choice import choose
from runtime.engines.cpu import CpuEngine, open_cpu_engine
from runtime.engines.devices import open_engine
from runtime.observe.metrics import Metrics
from tests.models_for_tests import make_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("choice") / "gru", "gru")


class Clock:
    """Time that passes as engines say."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def engine(self, bundle: Bundle, seconds: float) -> Callable[[], CpuEngine]:
        """Opens an engine whose calls take so long."""

        def opened() -> CpuEngine:
            engine = open_cpu_engine(bundle)
            inner = engine.run

            def timed(slots: Any, inputs: Any) -> Any:
                self.now += seconds
                return inner(slots, inputs)

            engine.run = timed  # type: ignore[method-assign]
            return engine

        return opened


def failing(error: Exception) -> Callable[[], Any]:
    def opener() -> Any:
        raise error

    return opener


@pytest.mark.parametrize(("gpu_s", "taken"), [(0.001, "cuda"), (0.1, "cpu")])
def test_fastest_engine_on_the_golden_inputs_is_taken(bundle: Bundle, gpu_s: float, taken: str) -> None:
    clock = Clock()
    openers = {"cuda": clock.engine(bundle, gpu_s), "cpu": clock.engine(bundle, 0.01)}
    choice = choose(bundle, openers, streams=64, clock=clock)
    assert choice.name == taken
    assert choice.rates == pytest.approx({"cuda": 64 / gpu_s, "cpu": 6400})
    assert choice.failed == {}


def test_engine_is_as_new_after_its_trial(bundle: Bundle) -> None:
    clock = Clock()
    choice = choose(bundle, {"a": clock.engine(bundle, 1), "b": clock.engine(bundle, 2)}, streams=8, clock=clock)
    fresh = open_cpu_engine(bundle)
    fresh.reset(np.arange(8))
    assert (choice.engine.read(np.arange(8)) == fresh.read(np.arange(8))).all()


@pytest.mark.parametrize(
    "error", [EngineError("no driver"), GateFailed("other numbers"), MissingDependency("no CuPy")], ids=repr
)
def test_engine_that_does_not_open_is_warned_of_and_another_taken(
    bundle: Bundle, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    choice = choose(bundle, {"cuda": failing(error), "cpu": lambda: open_cpu_engine(bundle)})
    assert (choice.name, choice.rates, choice.failed) == ("cpu", {}, {"cuda": str(error)})
    assert f"cuda here, another engine is taken: {error}" in caplog.text
    metrics = Metrics()
    metrics.chose(choice.name, choice.rates, choice.failed)
    assert metrics.registry.get_sample_value("edge_rnn_engine_info", {"name": "cpu"}) == 1
    assert metrics.registry.get_sample_value("edge_rnn_engine_fallbacks_total", {"engine": "cuda"}) == 1


def test_engine_that_opens_but_does_not_run_is_warned_of_and_another_taken(
    bundle: Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> CpuEngine:
        engine = open_cpu_engine(bundle)
        engine.step = failing_step  # type: ignore[assignment]
        return engine

    def failing_step(*given: Any) -> Any:
        raise EngineError("out of memory")

    clock = Clock()
    choice = choose(bundle, {"cuda": broken, "cpu": clock.engine(bundle, 1)}, streams=4, clock=clock)
    assert (choice.name, choice.failed) == ("cpu", {"cuda": "out of memory"})
    assert "opens with cuda but does not run" in caplog.text
    with pytest.raises(EngineError, match="no engine runs 'gru' here: a: out of memory; b: out of memory"):
        choose(bundle, {"a": broken, "b": broken}, streams=4, clock=clock)


def test_last_engine_that_does_not_open_is_the_error(bundle: Bundle) -> None:
    with pytest.raises(EngineError, match="the last"):
        choose(bundle, {"a": failing(EngineError("the first")), "b": failing(EngineError("the last"))})


def test_auto_without_a_gpu_is_the_cpu_without_a_word(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(devices, "present_gpu", lambda: None)
    choice = open_engine(bundle, "auto", cache_dir=tmp_path)
    assert (choice.name, choice.failed, choice.rates) == ("cpu", {}, {})
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize(("driver", "missing"), [(True, "CuPy"), (False, "libcuda.so.1")])
def test_auto_with_a_gpu_that_nothing_can_use_falls_back_to_the_cpu(
    bundle: Bundle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    driver: bool,
    missing: str,
) -> None:
    monkeypatch.setattr(cupy_device, "driver_there", lambda: driver)
    monkeypatch.setattr(devices, "present_gpu", lambda: "sm_89")
    monkeypatch.setattr(devices, "installed_library", lambda: object())
    monkeypatch.setitem(__import__("sys").modules, "cupy", None)
    choice = open_engine(bundle, "auto", cache_dir=tmp_path)
    assert choice.name == "cpu"
    assert set(choice.failed) == {"tensorrt", "cuda"}
    assert missing in choice.failed["cuda"]
    assert len(caplog.records) == 2


@pytest.mark.parametrize(("driver", "missing"), [(True, ("CuPy", "TensorRT")), (False, ("libcuda.so.1",))])
@pytest.mark.parametrize("device", ["cuda", "tensorrt"])
def test_daemon_on_a_device_that_is_not_there_ends_with_one_line(
    bundle: Bundle,
    tmp_path: Path,
    device: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    driver: bool,
    missing: tuple[str, ...],
) -> None:
    monkeypatch.setattr(cupy_device, "driver_there", lambda: driver)
    monkeypatch.setitem(__import__("sys").modules, "cupy", None)
    call = ["run", str(bundle.path), "--input", "a", "--output", "b", "--broker", f"sqlite:{tmp_path / 'b.db'}"]
    assert run([*call, "--create-topics", "--state-dir", str(tmp_path), "--device", device]) == 1
    told = capsys.readouterr().err.strip().splitlines()
    assert len([line for line in told if any(each in line for each in missing)]) == 1
    assert not any("Traceback" in line for line in told)
