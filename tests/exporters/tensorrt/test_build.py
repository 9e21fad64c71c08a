"""Engines built for GPUs that are not here, inspected, and kept. They are not run.

Each model is built for one GPU in turn; ``python -m tests.exporters.tensorrt`` builds all for all of them.
"""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path

import msgspec
import onnx
import pytest

from edge_rnn.cli.main import run
from edge_rnn.contract.bundle import Bundle, open_bundle
from edge_rnn.contract.errors import EngineError, UsageError
from edge_rnn.contract.plans import TOLERANCES, EnginePrecision, PlanCache, PlanKey, plan_key
from edge_rnn.contract.tensorrt import Library, find_library
from edge_rnn.models import save
from exporters.decompose.chunk import ChunkGraph, decompose_bundle
from exporters.export import export_bundle
from exporters.inputs import parse_input
from exporters.source import Source
from exporters.tensorrt import ahead
from exporters.tensorrt.ahead import build_engines
from exporters.tensorrt.build import build_engine
from exporters.tensorrt.lower import calibration_of, largest_inputs, lower_chunk
from tests.exporters.models import CELLS, Case, source
from tests.exporters.zoo.cases import EXPORTED, Kind

if not (os.environ.get("CI") and platform.machine() == "x86_64"):
    pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT for RTX is not installed (see docs/gpu.md)")

GPUS = ("sm_80", "sm_86", "sm_89", "sm_120")
TURNS = [(kind, GPUS[number % len(GPUS)]) for number, kind in enumerate(EXPORTED)]


@pytest.fixture(scope="module")
def library() -> Library:
    return find_library()


@pytest.fixture(scope="module")
def lstm(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return export_bundle(source(Case("lstm", 2, "regression")), tmp_path_factory.mktemp("lstm") / "b")


def key_of(bundle: Bundle, library: Library, gpu: str, chunk: int) -> PlanKey:
    return plan_key(bundle.manifest, library.name, library.version, gpu, chunk)


def inspect(library: Library, bundle: Bundle, chunk: int, gpu: str) -> None:
    """It builds; nothing loops, kernels hold several operators, and states keep their shapes."""
    built = build_engine(library, decompose_bundle(bundle, chunk), gpu)
    assert len(built.plan) > 1000
    assert built.inspection.loops == 0
    assert built.inspection.fused >= 1
    shapes = {tensor.name: tensor.shape for tensor in built.inspection.tensors}
    for spec in bundle.manifest.states:
        expected = tuple(-1 if dim == "batch" else dim for dim in spec.shape)
        assert shapes[spec.input] == shapes[spec.output] == expected


@pytest.mark.parametrize("gpu", GPUS)
@pytest.mark.parametrize("chunk", [1, 4])
def test_engine_of_a_chunk_builds_for_every_gpu(library: Library, lstm: Bundle, chunk: int, gpu: str) -> None:
    inspect(library, lstm, chunk, gpu)


@pytest.mark.parametrize("cell", CELLS)
def test_engine_of_every_model_builds_without_a_loop(cell: str, library: Library, tmp_path: Path) -> None:
    gpu = GPUS[list(CELLS).index(cell) % len(GPUS)]
    inspect(library, export_bundle(source(Case(cell, 2, "regression")), tmp_path / "b"), 2, gpu)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "gpu"), TURNS, ids=lambda each: each if isinstance(each, str) else each.name)
def test_engine_of_every_kind_of_the_zoo_builds_without_a_loop(
    kind: Kind, gpu: str, library: Library, tmp_path: Path
) -> None:
    specs = [parse_input(text) for text in kind.inputs]
    bundle = export_bundle(Source(kind.module(), "zoo", {}), tmp_path / "b", inputs=specs, states=kind.states)
    inspect(library, bundle, 2 if bundle.manifest.has_time else 1, gpu)


def test_gates_of_a_step_fuse_into_one_kernel(library: Library, lstm: Bundle) -> None:
    found = build_engine(library, decompose_bundle(lstm, 1), "sm_89").inspection
    steps = [layer for layer in found.layers if any(name.endswith("/iof/Split") for name in layer.operators)]
    assert len(steps) == 2  # one a layer of the model
    for layer in steps:
        assert {name.rpartition("/")[2] for name in layer.operators} >= {"Split", "Sigmoid", "Tanh", "Mul", "Add"}


@pytest.mark.parametrize(
    ("precision", "types"), [("fp16", "Half"), ("bf16", "BFloat16"), ("int8", "Int8")], ids=lambda each: each
)
def test_engine_of_a_lower_precision_makes_its_products_in_it_and_keeps_states_in_fp32(
    library: Library, lstm: Bundle, precision: EnginePrecision, types: str
) -> None:
    largest = largest_inputs(lstm, calibration_of(lstm, None))
    graph = lower_chunk(decompose_bundle(lstm, 2), precision, largest)
    found = build_engine(library, graph, GPUS[list(TOLERANCES).index(precision)]).inspection
    products = [layer for layer in found.layers if any(name.endswith("/MatMul") for name in layer.operators)]
    assert len(products) >= 5  # of both layers, and the head
    assert all(types in layer.types for layer in products if layer.kind in ("gemm", "runtime_fusion"))
    assert found.loops == 0
    names = {spec.input for spec in lstm.manifest.states} | {spec.output for spec in lstm.manifest.states}
    assert {tensor.dtype for tensor in found.tensors if tensor.name in names} == {"Float"}


def test_engines_of_each_precision_have_keys_of_their_own(library: Library, lstm: Bundle, tmp_path: Path) -> None:
    def builds(precision: EnginePrecision) -> list[bool]:
        found = build_engines(lstm, library, "sm_89", tmp_path, largest=1, precision=precision)
        return [engine.built for engine in found]

    assert [builds("fp16"), builds("fp16"), builds("bf16")] == [[True], [False], [True]]
    assert [builds("int8"), builds("int8")] == [[True], [True]]  # another calibration is another engine


def test_engines_are_built_once_and_a_stale_or_foreign_one_anew(library: Library, lstm: Bundle, tmp_path: Path) -> None:
    def builds(gpu: str = "sm_89") -> list[bool]:
        return [engine.built for engine in build_engines(lstm, library, gpu, tmp_path, largest=2)]

    assert builds() == [True, True]
    assert builds() == [False, False]
    assert builds("sm_86") == [True, True]
    cache = PlanCache(tmp_path)
    mine, foreign = (cache.path(key_of(lstm, library, gpu, 2)) for gpu in ("sm_89", "sm_86"))
    mine.write_bytes(foreign.read_bytes())
    assert builds() == [False, True]
    newer = msgspec.structs.replace(key_of(lstm, library, "sm_89", 1), version="0.0")
    found = cache.read(key_of(lstm, library, "sm_89", 1))
    assert found is not None
    cache.write(newer, found)
    cache.path(newer).replace(cache.path(key_of(lstm, library, "sm_89", 1)))
    assert builds() == [True, False]


def test_other_weights_have_another_key(library: Library, lstm: Bundle, tmp_path: Path) -> None:
    case = Case("lstm", 2, "regression")
    other = export_bundle(Source(case.make(seed=9), case.name, {}), tmp_path / "b")
    assert key_of(other, library, "sm_89", 1) != key_of(lstm, library, "sm_89", 1)


def test_graph_that_does_not_parse_is_refused_by_its_node(library: Library, lstm: Bundle) -> None:
    graph = decompose_bundle(lstm, 1)
    model = onnx.load_from_string(graph.graph)
    next(node for node in model.graph.node if node.op_type == "Sigmoid").op_type = "NoSuchOperator"
    with pytest.raises(EngineError, match=r"tensorrt_rtx .* cannot read its graph: .*NoSuchOperator"):
        build_engine(library, ChunkGraph(graph.manifest, 1, model.SerializeToString()), "sm_89")


def test_largest_chunk_that_is_no_power_of_two_is_refused(library: Library, lstm: Bundle, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="power of two"):
        build_engines(lstm, library, "sm_89", tmp_path, largest=3)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("run") / "run"
    save(folder, Case("gru", 1, "classification").make(), recipe="activity")
    return str(folder)


def test_command_builds_engines_and_shows_what_became_of_the_graph(
    trained: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ["export", trained, "-o", str(tmp_path / "b"), "--target", "tensorrt", "--gpu", "sm_89"]
    call += ["--cache-dir", str(tmp_path / "cache")]
    assert run(call) == 0
    shown = capsys.readouterr().out
    assert "chunk of  1: built" in shown
    assert "chunk of 32: built" in shown
    assert "not run here" in shown
    assert run([*call[:3], str(tmp_path / "again"), *call[4:], "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [engine["built"] for engine in told["engines"]] == [False] * 6
    assert all(Path(engine["path"]).is_file() for engine in told["engines"])


def test_command_builds_engines_in_another_precision_beside_a_bundle_in_fp32(
    trained: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ahead, "chunk_sizes", lambda manifest, largest: [1, 2])
    call = ["export", trained, "-o", str(tmp_path / "b"), "--target", "tensorrt", "--gpu", "sm_86", "--json"]
    assert run([*call, "--cache-dir", str(tmp_path / "cache"), "--precision", "fp16"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {engine["key"]["precision"] for engine in told["engines"]} == {"fp16"}
    assert open_bundle(tmp_path / "b").manifest.precision == "fp32"


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--target", "tensorrt", "--gpu", "sm_87"], "sm_75, sm_80, sm_86, sm_89, sm_120, sm_121; --gpu sm_87"),
        (["--target", "tensorrt"], "needs --gpu"),
        (["--target", "cuda"], "expected onnx or tensorrt"),
        (["--gpu", "sm_89"], "--gpu goes with --target tensorrt"),
        (["--target", "tensorrt", "--gpu", "sm_89", "--precision", "fp8"], "engines are in fp32, fp16, bf16, int8"),
        (["--target", "tensorrt", "--gpu", "sm_89", "--weight-bits", "7"], "--weight-bits is for the CPU"),
    ],
)
def test_command_called_wrongly_says_what_fits_and_writes_nothing(
    trained: str, tmp_path: Path, more: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["export", trained, "-o", str(tmp_path / "b"), *more]) == 2
    assert told in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
