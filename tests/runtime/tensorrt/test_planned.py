"""Engines bound by address: the gates, chunks, and what is refused before an address is handed over."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edge_rnn.contract import tensorrt as library
from edge_rnn.contract.bundle import Bundle
from edge_rnn.contract.errors import EngineError
from edge_rnn.contract.plans import Plan, PlanCache, chunk_sizes, plan_key
from edge_rnn.contract.stepgraph import first_states, open_step_graph
from edge_rnn.contract.verification import verify_bundle
from exporters.decompose.chunk import decompose_bundle
from runtime.engines import tensorrt
from runtime.engines.planned import PlanRunner
from runtime.engines.tensorrt import find_plans
from runtime.engines.through import ThroughHost
from tests.models_for_tests import make_bundle
from tests.runtime.tensorrt.played import MODULE, PLAYED, QUEUE, Context, Engine, played_step


def room(size: int) -> np.ndarray:
    return np.zeros(size, np.uint8)


@pytest.fixture(scope="module", params=["lstm", "gru", "jordan"])
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("planned") / request.param, request.param, layers=2)


@pytest.fixture(scope="module")
def lstm(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("planned") / "one", "lstm")


def test_planned_step_passes_the_gates_of_the_bundle(bundle: Bundle) -> None:
    verify_bundle(bundle, ThroughHost(played_step(bundle), np))


@pytest.mark.parametrize("steps", [1, 3, 4, 13])
def test_planned_step_makes_any_number_of_steps_of_its_chunks(bundle: Bundle, steps: int) -> None:
    x = np.random.default_rng(steps).standard_normal((steps, 5, 3)).astype(np.float32)
    states = first_states(bundle, 5)
    expected, found = open_step_graph(bundle)([x], states), played_step(bundle)([x], states)
    for mine, theirs in zip([*found[0], *found[1]], [*expected[0], *expected[1]], strict=True):
        assert mine.shape == theirs.shape
        assert np.abs(mine - theirs).max() < 1e-6


def runner(bundle: Bundle) -> tuple[PlanRunner, dict[str, Any], dict[str, Any]]:
    graph = decompose_bundle(bundle, 1)
    manifest = graph.manifest
    feed = {spec.name: np.ones((1, 2, 3), np.float32) for spec in manifest.inputs}
    feed |= {spec.input: np.zeros((1, 2, 8), np.float32) for spec in manifest.states}
    results = {spec.name: np.empty((1, 2, 2), np.float32) for spec in manifest.outputs}
    results |= {spec.output: np.empty((1, 2, 8), np.float32) for spec in manifest.states}
    return PlanRunner(PLAYED, graph.graph, "'net'", lambda: QUEUE.ptr, room), feed, results


@pytest.mark.parametrize("spoil", ["type", "shape of an input", "shape of a result", "name"])
def test_engine_that_is_given_what_does_not_fit_writes_nowhere(
    lstm: Bundle, spoil: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, feed, results = runner(lstm)
    run(feed, results)
    before = {name: value.copy() for name, value in results.items()}
    name = next(iter(feed if spoil == "shape of an input" else results))
    if spoil == "type":
        results[name] = results[name].astype(np.float16)
    elif spoil == "shape of an input":
        feed[name] = feed[name][:, :, :1]
    elif spoil == "shape of a result":
        results[name] = results[name][:, :1]
    else:
        results["other"] = results.pop(name)
    monkeypatch.setattr(Context, "execute_async_v3", lambda self, queue: pytest.fail("it was run"))
    with pytest.raises(EngineError, match="the engine"):
        run(feed, results)
    assert all((value == before[name]).all() for name, value in results.items() if value.shape == (1, 2, 8))


def test_engine_that_fails_says_what_its_library_told(lstm: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    run, feed, results = runner(lstm)
    monkeypatch.setattr(run._engine, "session", None)
    with pytest.raises(EngineError, match=r"does not run: .*NoneType"):
        run(feed, results)


def test_plan_that_cannot_be_opened_says_why_and_what_to_do() -> None:
    with pytest.raises(EngineError, match=r"tensorrt 10.3 cannot open the engine of 'net': .*--device cpu"):
        PlanRunner(PLAYED, b"no plan", "'net'", lambda: 0, room)


def test_engine_without_room_for_its_context_is_refused(lstm: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    run, feed, results = runner(lstm)
    monkeypatch.setattr(Engine, "create_execution_context", lambda self, strategy: None)
    with pytest.raises(EngineError, match="cannot open the engine"):
        run(feed, results)


def test_engine_has_a_context_with_memory_of_its_own_for_each_shape(lstm: Bundle) -> None:
    run, feed, results = runner(lstm)
    for _ in range(2):
        run(feed, results)
    first = {name: value.copy() for name, value in results.items()}
    wide = [{name: np.repeat(value, 2, axis=1) for name, value in each.items()} for each in (feed, results)]
    run(*wide)
    run(feed, results)
    assert all((results[name] == value).all() for name, value in first.items())
    (one, mine), (other, theirs) = run._contexts.values()
    assert one is not other
    assert not np.shares_memory(mine, theirs)


def test_plans_of_the_cache_are_found_by_what_they_were_built_for(lstm: Bundle, tmp_path: Path) -> None:
    cache = PlanCache(tmp_path)
    for chunk in chunk_sizes(lstm.manifest):
        cache.write(plan_key(lstm.manifest, "tensorrt", "10.3", "sm_87", chunk), Plan(b"plan %d" % chunk, b"{}"))
    found = find_plans(lstm, PLAYED, "sm_87", tmp_path)
    assert found == {chunk: b"plan %d" % chunk for chunk in (1, 2, 4, 8, 16, 32)}
    with pytest.raises(EngineError, match=r"holds no fp32 engine of 'one' for sm_90 by tensorrt 10.3 \(chunk of 1\)"):
        find_plans(lstm, PLAYED, "sm_90", tmp_path)
    cache.path(plan_key(lstm.manifest, "tensorrt", "10.3", "sm_87", 8)).unlink()
    with pytest.raises(EngineError, match="chunk of 8"):
        find_plans(lstm, PLAYED, "sm_87", tmp_path)
    with pytest.raises(EngineError, match="no GPU can be used"):
        find_plans(lstm, PLAYED, None, tmp_path)


def test_tensorrt_without_a_gpu_says_so(lstm: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_gpu() -> Any:
        raise EngineError("no GPU can be used: the driver shows none")

    monkeypatch.setattr(tensorrt, "find_library", lambda: PLAYED)
    monkeypatch.setattr(tensorrt, "import_cupy", no_gpu)
    with pytest.raises(EngineError, match="no GPU can be used"):
        tensorrt.open_tensorrt_engine(lstm, tmp_path)


def test_real_library_has_every_call_that_is_played_here() -> None:
    trt = pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT for RTX is not installed (see docs/gpu.md)")
    assert set(vars(MODULE)) <= set(dir(trt))
    for played, real in {"Runtime": trt.Runtime, "Engine": trt.ICudaEngine, "Context": trt.IExecutionContext}.items():
        mine = SimpleNamespace(**vars(__import__(Engine.__module__, fromlist=["x"])))
        calls = {name for name in vars(getattr(mine, played)) if not name.startswith("_")}
        assert calls <= set(dir(real)), played
    assert "num_io_tensors" in dir(trt.ICudaEngine)
    assert trt.TensorIOMode.INPUT != trt.TensorIOMode.OUTPUT
    assert np.dtype(trt.nptype(trt.DataType.FLOAT)) == np.float32


def test_real_engine_without_a_driver_is_refused_with_what_the_library_says(lstm: Bundle) -> None:
    pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT for RTX is not installed (see docs/gpu.md)")
    if library.present_gpu() is not None:
        pytest.skip("there is a GPU here")
    from exporters.tensorrt.build import build_engine

    found = library.find_library()
    plan = build_engine(found, decompose_bundle(lstm, 1), "sm_89").plan
    with pytest.raises(EngineError, match=r"cannot open the engine of 'one': .*driver"):
        PlanRunner(found, plan, "'one'", lambda: 0, room)
