"""The engine of a device with NumPy in place of CuPy and ONNX Runtime's IO binding on the CPU: like the CPU engine."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import onnxruntime
import pytest

from edge_rnn.contract.bundle import Bundle
from edge_rnn.contract.errors import EngineError, MissingDependency
from edge_rnn.contract.verification import check_golden, verify_bundle
from runtime.core.device import at_once
from runtime.engines import cuda, cupy_device
from runtime.engines.bound import BoundSession, BoundStep
from runtime.engines.cpu import CpuEngine, open_cpu_engine
from runtime.engines.device import DeviceEngine
from runtime.engines.through import ThroughHost
from tests.models_for_tests import make_bundle


@pytest.fixture(scope="module", params=["lstm", "gru", "jordan"])
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("device") / request.param, request.param, layers=2)


def bound(bundle: Bundle) -> BoundStep:
    """The step graph by IO binding, on the CPU."""
    session = onnxruntime.InferenceSession(str(bundle.graph_path), providers=["CPUExecutionProvider"])
    return BoundStep(bundle.manifest, BoundSession(session, "cpu"), np, bundle.constants())


def engines(bundle: Bundle, rows: int) -> tuple[CpuEngine, DeviceEngine]:
    first = [bundle.initial_state(spec) for spec in bundle.manifest.states]
    both = open_cpu_engine(bundle), DeviceEngine(bundle.manifest, bound(bundle), first, at_once(), rows)
    for engine in both:
        engine.grow(2000)
        engine.reset(np.arange(2000))
    return both


@pytest.mark.parametrize("rows", [3, 16, 4000])
def test_device_engine_gives_every_bit_of_the_cpu_engine(bundle: Bundle, rows: int) -> None:
    (plain, device), rng = engines(bundle, rows), np.random.default_rng(0)
    for _ in range(40):
        slots = rng.permutation(30)[: rng.integers(1, 20)]
        x = rng.standard_normal((1 << rng.integers(4), slots.size, 3)).astype(np.float32)
        (expected, _), (found, good) = plain.run(slots, [x]), device.run(slots, [x])
        assert good.all()
        for value, reference in zip(found, expected, strict=True):
            assert value.tobytes() == reference.tobytes()
    assert (device.read(np.arange(2000)) == plain.read(np.arange(2000))).all()
    assert (device.arena.saved > 100) == (rows < 30)


@pytest.mark.parametrize("where", ["output", "state"])
def test_device_engine_leaves_the_states_of_a_stream_that_is_not_finite(bundle: Bundle, where: str) -> None:
    plain, device = engines(bundle, 8)
    slots, x = np.array([5, 2, 7]), np.ones((4, 3, 3), np.float32)
    for engine in (plain, device):
        engine.run(slots, [x])
    before = device.read(slots)
    for engine in (plain, device):
        engine.step = spoiling(engine.step, where)
        _, good = engine.run(slots, [x])
        assert good.tolist() == [True, False, True]
    after = device.read(slots)
    assert (after[1] == before[1]).all()
    assert (after[0] != before[0]).any()
    assert (after[2] != before[2]).any()
    assert (after == plain.read(slots)).all()


def spoiling(step: Any, where: str) -> Any:
    """The same step function, but with NaN in what the second stream gets."""

    def spoilt(inputs: Sequence[Any], states: Sequence[Any], /) -> tuple[list[Any], list[Any]]:
        outputs, new = ([np.array(value) for value in values] for values in step(inputs, states))
        if where == "output":
            outputs[0][-1, 1] = np.nan
        else:
            new[-1][1] = np.nan
        return outputs, new

    return spoilt


@pytest.mark.parametrize("rows", [2, 8])
def test_device_engine_that_fails_leaves_all_states_as_they_were(bundle: Bundle, rows: int) -> None:
    _, device = engines(bundle, rows)
    slots, x = np.arange(5), np.ones((2, 5, 3), np.float32)
    device.run(slots, [x])
    before, step, calls = device.read(np.arange(9)), device.step, []

    def failing(inputs: Sequence[Any], states: Sequence[Any], /) -> tuple[list[Any], list[Any]]:
        calls.append(len(states[0]))
        if sum(calls) == 5:
            raise EngineError("the device is gone")
        return step(inputs, states)

    device.step = failing
    with pytest.raises(EngineError, match="is gone"):
        device.run(slots, [x])
    assert (device.read(np.arange(9)) == before).all()
    assert len(calls) == (3 if rows == 2 else 1)


def test_device_engine_works_until_the_step_fails(bundle: Bundle) -> None:
    _, device = engines(bundle, 8)
    assert device.works()
    session = SimpleNamespace(io_binding=lambda: 1 / 0)
    device.step = BoundStep(bundle.manifest, BoundSession(session, "cpu"), np, {})
    assert not device.works()


def test_bound_step_waits_for_the_array_module_before_each_run(bundle: Bundle) -> None:
    order: list[str] = []
    session = onnxruntime.InferenceSession(str(bundle.graph_path), providers=["CPUExecutionProvider"])

    def run(binding: Any) -> None:
        order.append("run")
        session.run_with_iobinding(binding)

    watched = SimpleNamespace(io_binding=session.io_binding, run_with_iobinding=run)
    run_ = BoundSession(watched, "cpu", lambda: order.append("settle"))
    step = BoundStep(bundle.manifest, run_, np, {})
    states = [np.zeros((2, *spec.row_shape), spec.dtype) for spec in bundle.manifest.states]
    for _ in range(2):
        step([np.ones((1, 2, 3), np.float32)], states)
    assert order == ["settle", "run"] * 2


def test_bound_step_passes_the_gates_of_the_bundle(bundle: Bundle) -> None:
    step = ThroughHost(bound(bundle), np)
    check_golden(bundle, step)
    verify_bundle(bundle, step)


def test_bound_step_with_other_axis_orders_and_constants_gives_the_same(tmp_path: Path) -> None:
    """A batch-first graph with its batch last in the state, and a constant repeated for every stream."""
    from onnx import TensorProto, helper

    from edge_rnn.contract.signature import FORMAT, ConstantSpec, InputSpec, Manifest, OutputSpec, StateSpec
    from edge_rnn.contract.stepgraph import StepGraph

    value = helper.make_tensor_value_info
    nodes = [
        helper.make_node("ReduceSum", ["x", "one"], ["total"], keepdims=0),  # [batch, 2]
        helper.make_node("Transpose", ["total"], ["turned"], perm=[1, 0]),
        helper.make_node("Add", ["turned", "s"], ["s.next"]),
        helper.make_node("Add", ["x", "c"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [
            value("x", TensorProto.FLOAT, ["batch", "time", 2]),
            value("s", TensorProto.FLOAT, [2, "batch"]),
            value("c", TensorProto.FLOAT, ["batch", 1, 2]),
        ],
        [value("y", TensorProto.FLOAT, ["batch", "time", 2]), value("s.next", TensorProto.FLOAT, [2, "batch"])],
        [helper.make_tensor("one", TensorProto.INT64, [1], [1])],
    )
    data = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    axes = ("batch", "time", "feature")
    manifest = Manifest(
        format=FORMAT,
        name="turned",
        graph="step.onnx",
        precision="fp32",
        opset=17,
        onnxruntime="1.12",
        inputs=(InputSpec(name="x", dtype="float32", shape=("batch", "time", 2), axes=axes),),
        outputs=(OutputSpec(name="y", dtype="float32", shape=("batch", "time", 2), axes=axes),),
        states=(StateSpec(name="s", input="s", output="s.next", dtype="float32", shape=(2, "batch")),),
        constants=(ConstantSpec(name="c", dtype="float32", value=[], batch_axis=0),),
    )
    constants = {"c": np.float32([[0.25, 0.5]])}
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(4)
    x, s = rng.random((3, 5, 2), np.float32), rng.random((5, 2), np.float32)
    expected = StepGraph(manifest, data, constants=constants)([x], [s])
    found = BoundStep(manifest, BoundSession(session, "cpu"), np, constants)([x], [s])
    for mine, theirs in zip(found, expected, strict=True):
        assert (mine[0] == theirs[0]).all()


def test_bound_step_of_one_stream_a_call_is_refused(bundle: Bundle) -> None:
    with pytest.raises(EngineError, match="run it on the CPU"):
        BoundStep(msgspec.structs.replace(bundle.manifest, batch_limit=1), lambda feed, results: None, np, {})


@pytest.mark.parametrize(
    ("driver", "error", "told"),
    [
        (
            False,
            EngineError,
            r"^no GPU can be used: NVIDIA's driver \(libcuda.so.1\) is not there; install it, then pip",
        ),
        (True, MissingDependency, "cupy-cuda12x"),
    ],
)
def test_cuda_engine_without_cupy_says_what_to_install_the_driver_first(
    monkeypatch: pytest.MonkeyPatch, driver: bool, error: type[Exception], told: str
) -> None:
    def opened(name: str) -> None:
        assert name == "libcuda.so.1"
        if not driver:
            raise OSError("cannot open shared object file")

    real = builtins.__import__

    def importing(name: str, *more: Any, **others: Any) -> Any:
        if name == "cupy":
            raise ImportError("no cupy")
        return real(name, *more, **others)

    monkeypatch.setattr(builtins, "__import__", importing)
    monkeypatch.setattr(cupy_device.ctypes, "CDLL", opened)
    with pytest.raises(error, match=told):
        cupy_device.import_cupy()


def test_cuda_engine_with_a_runtime_that_lacks_the_provider_says_so(bundle: Bundle) -> None:
    assert cuda.PROVIDER not in onnxruntime.get_available_providers()
    with pytest.raises(EngineError, match=r"has no CUDAExecutionProvider, only .*CPU.*edge-rnn\[gpu\]"):
        cuda._session(bundle)


def test_cuda_engine_with_a_provider_that_is_listed_but_does_not_run_says_so(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    fallen_back = SimpleNamespace(get_providers=lambda: ["CPUExecutionProvider"])
    ort = SimpleNamespace(
        __version__="1.31",
        get_available_providers=lambda: [cuda.PROVIDER, "CPUExecutionProvider"],
        SessionOptions=SimpleNamespace,
        InferenceSession=lambda *given, **more: fallen_back,
    )
    monkeypatch.setattr(cuda, "import_onnxruntime", lambda: ort)
    with pytest.raises(EngineError, match="lists CUDAExecutionProvider but runs on CPUExecutionProvider"):
        cuda._session(bundle)


class Watched(BoundSession):
    """Notes the arrays and options of each run."""

    def __init__(self, bundle: Bundle) -> None:
        self.inner = onnxruntime.InferenceSession(str(bundle.graph_path), providers=["CPUExecutionProvider"])
        super().__init__(self, "cpu", options=onnxruntime.RunOptions)
        self.graphs: list[str] = []

    def io_binding(self) -> Any:
        return self.inner.io_binding()

    def run_with_iobinding(self, binding: Any, options: Any) -> None:
        self.graphs.append(options.get_run_config_entry("gpu_graph_id"))
        self.inner.run_with_iobinding(binding, options)


def test_calls_of_one_size_are_one_graph_on_the_same_arrays(bundle: Bundle) -> None:
    session = Watched(bundle)
    step, plain = BoundStep(bundle.manifest, session, np, bundle.constants(), fixed=True), bound(bundle)
    states = [np.zeros((6, *spec.row_shape), spec.dtype) for spec in bundle.manifest.states]
    rng = np.random.default_rng(0)
    for steps, batch in [(1, 2), (4, 2), (1, 2), (1, 6), (4, 2), (1, 2)]:
        x = rng.standard_normal((steps, batch, 3)).astype(np.float32)
        given = [value[:batch] for value in states]
        found, expected = step([x], given), plain([x], given)
        for mine, theirs in zip([*found[0], *found[1]], [*expected[0], *expected[1]], strict=True):
            assert mine.tobytes() == theirs.tobytes()
    assert session.graphs == ["1", "2", "1", "3", "2", "1"]


@pytest.mark.parametrize(
    "error", [MemoryError("out of memory allocating 9 bytes"), RuntimeError("cudaErrorLaunchFailure")]
)
@pytest.mark.parametrize("rows", [2, 8])
def test_device_engine_whose_device_fails_says_so_and_leaves_all_states(
    bundle: Bundle, error: Exception, rows: int
) -> None:
    _, device = engines(bundle, rows)
    slots, x = np.arange(5), np.ones((2, 5, 3), np.float32)
    device.run(slots, [x])
    before, step, left = device.read(np.arange(9)), device.step, [5]

    def failing(inputs: Sequence[Any], states: Sequence[Any], /) -> tuple[list[Any], list[Any]]:
        left[0] -= len(states[0])
        if not left[0]:
            raise error
        return step(inputs, states)

    device.step = failing
    with pytest.raises(EngineError, match=f"the device failed on . streams .*{error}.*--device cpu"):
        device.run(slots, [x])
    assert (device.read(np.arange(9)) == before).all()
