"""Calls recorded once and repeated: like eager ones, without a stream stepped by the recording."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edge_rnn.contract.bundle import Bundle
from edge_rnn.contract.errors import EngineError
from runtime.core.device import at_once
from runtime.engines.cpu import CpuEngine, open_cpu_engine
from runtime.engines.cupy_device import CudaGraphs
from runtime.engines.device import DeviceEngine
from runtime.engines.recorded import BUCKETS
from tests.models_for_tests import make_bundle
from tests.runtime.tensorrt.played import Recording, played_step

STREAMS = 90


@pytest.fixture(scope="module", params=["lstm", "gru", "jordan"])
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("recorded") / request.param, request.param, layers=2)


def engines(bundle: Bundle, rows: int, record: Any) -> tuple[CpuEngine, DeviceEngine]:
    first = [bundle.initial_state(spec) for spec in bundle.manifest.states]
    both = (
        open_cpu_engine(bundle),
        DeviceEngine(bundle.manifest, played_step(bundle), first, at_once(), rows, record=record),
    )
    for engine in both:
        engine.grow(STREAMS)
        engine.reset(np.arange(STREAMS))
    return both


@pytest.mark.parametrize("rows", [16, 500])
def test_recorded_calls_keep_to_the_cpu_engine_whether_or_not_streams_spill(bundle: Bundle, rows: int) -> None:
    record, rng = Recording(), np.random.default_rng(0)
    plain, device = engines(bundle, rows, record)
    for _ in range(60):
        slots = rng.permutation(STREAMS)[: rng.integers(1, STREAMS)]
        x = rng.standard_normal((1 << rng.integers(4), slots.size, 3)).astype(np.float32)
        (expected, _), (found, good) = plain.run(slots, [x]), device.run(slots, [x])
        assert good.all()
        assert np.abs(found[0] - expected[0]).max() < 1e-5
    states = [engine.read(np.arange(STREAMS)).view(np.float32) for engine in (plain, device)]
    assert np.abs(states[0] - states[1]).max() < 1e-5
    assert (device.arena.saved > 100) == (rows < STREAMS)
    assert device.calls.made
    assert record.made == len(device.calls.made) <= 4 * len(BUCKETS)


@pytest.mark.parametrize("rehearsals", [1, 5])
def test_recording_steps_no_stream_however_often_it_runs_the_body(bundle: Bundle, rehearsals: int) -> None:
    _, recorded = engines(bundle, 50, Recording(rehearsals))
    _, eager = engines(bundle, 50, None)
    slots, x = np.arange(9), np.ones((2, 9, 3), np.float32)
    for engine in (recorded, eager):
        engine.run(slots, [x])
    before = recorded.read(np.arange(STREAMS))
    for steps, bucket in [(1, 1), (4, 64)]:
        recorded.calls._make(steps, bucket, recorded.calls._places[0], Recording(rehearsals))
    assert (recorded.read(np.arange(STREAMS)) == before).all()
    difference = recorded.read(slots).view(np.float32) - eager.read(slots).view(np.float32)
    assert np.abs(difference).max() < 1e-6


def test_recorded_call_leaves_the_states_of_a_stream_that_is_not_finite(bundle: Bundle) -> None:
    plain, device = engines(bundle, 50, Recording())
    slots, x = np.array([5, 2, 7]), np.ones((4, 3, 3), np.float32)
    for engine in (plain, device):
        engine.run(slots, [x])
    before = device.read(slots)
    x[1, 1, 0] = np.nan
    outputs, good = device.run(slots, [x])
    plain.run(slots, [x])
    after = device.read(slots)
    assert good.tolist() == [True, False, True]
    assert (after[1] == before[1]).all()
    difference = after.view(np.float32) - plain.read(slots).view(np.float32)
    assert np.abs(difference[[0, 2]]).max() < 1e-6
    assert outputs[0].shape == (4, 3, 2)


def test_recording_that_fails_leaves_all_states_as_they_were(bundle: Bundle) -> None:
    _, device = engines(bundle, 50, Recording())
    slots, x = np.arange(5), np.ones((1, 5, 3), np.float32)
    device.run(slots, [x])
    before = device.read(slots)
    assert device.calls.made

    def failing(*given: Any) -> Any:
        raise EngineError("the device is gone")

    step, device.step = device.step, failing
    with pytest.raises(EngineError, match="is gone"):
        device.run(slots, [np.ones((2, 5, 3), np.float32)])
    assert (device.read(slots) == before).all()
    device.step = step
    device.run(slots, [x])
    assert (device.read(slots) != before).any()


def test_more_streams_than_the_largest_bucket_go_in_several_calls(tmp_path: Any) -> None:
    bundle = make_bundle(tmp_path / "b", "gru")
    first = [bundle.initial_state(spec) for spec in bundle.manifest.states]
    device = DeviceEngine(bundle.manifest, played_step(bundle), first, at_once(), 9000, record=Recording())
    device.grow(5000)
    device.reset(np.arange(5000))
    outputs, good = device.run(np.arange(5000), [np.ones((1, 5000, 3), np.float32)])
    assert good.all()
    assert outputs[0].shape == (1, 5000, 2)
    assert np.abs(outputs[0] - outputs[0][:, :1]).max() < 1e-6
    assert device.calls.made
    assert device.calls.made == [(1, 4096), (1, 1024)]


class Cupy:
    """As much of CuPy as `CudaGraphs` calls; notes the order of what happens."""

    class Error(Exception):
        pass

    def __init__(self, refuse: bool = False) -> None:
        self.order: list[str] = []
        self._refuse = refuse
        self.cuda = SimpleNamespace(
            MemoryPool=lambda: SimpleNamespace(malloc="own pool"),
            using_allocator=self._using,
            runtime=SimpleNamespace(CUDARuntimeError=Cupy.Error),
        )

    @contextmanager
    def _using(self, malloc: str) -> Any:
        self.order.append(malloc)
        yield
        self.order.append("default pool")

    def __enter__(self) -> None:
        self.order.append("queue")

    def __exit__(self, *given: object) -> None:
        self.order.append("default queue")

    def synchronize(self) -> None:
        self.order.append("wait")

    def begin_capture(self) -> None:
        self.order.append("begin")

    def end_capture(self) -> Any:
        self.order.append("end")
        if self._refuse:
            raise Cupy.Error("operation not permitted")
        return SimpleNamespace(launch=lambda queue: self.order.append("launch"))


def body_of(cupy: Cupy) -> Callable[[], None]:
    def body() -> None:
        cupy.order.append("body")

    return body


def test_cuda_graph_is_recorded_after_a_rehearsal_with_memory_of_its_own() -> None:
    cupy = Cupy()
    replay = CudaGraphs(cupy, cupy)(body_of(cupy))
    expected = ["own pool", "queue", "body", "wait", "begin", "body", "end", "default queue", "default pool"]
    assert cupy.order == expected
    replay()
    assert cupy.order == [*expected, "launch"]


def test_cuda_graph_that_is_refused_is_made_anew_each_time_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    cupy = Cupy(refuse=True)
    replay = CudaGraphs(cupy, cupy)(body_of(cupy))
    assert "cannot be recorded" in caplog.text
    count = cupy.order.count("body")
    replay()
    assert cupy.order.count("body") == count + 1
    assert "launch" not in cupy.order


def test_body_that_cannot_be_put_into_a_recording_is_made_anew_each_time(caplog: pytest.LogCaptureFixture) -> None:
    """ONNX Runtime raises errors of its own where it has to wait within a recording."""
    cupy, recording = Cupy(), []

    def body() -> None:
        if recording == [] and "begin" in cupy.order:
            recording.append("refused")
            raise EngineError("not while a stream is captured")
        cupy.order.append("body")

    recorder = CudaGraphs(cupy, cupy)
    replay = recorder(body)
    assert "not while a stream is captured" in caplog.text
    assert recorder.refused == 1
    assert cupy.order[-3:] == ["end", "default queue", "default pool"]
    replay()
    assert cupy.order[-1] == "body"
