"""Which GPUs engines can be built for, with either library; neither need be installed."""

from __future__ import annotations

import enum
import importlib
from pathlib import Path
from types import SimpleNamespace

import pytest

from edge_rnn.cli.engines import ahead_of
from edge_rnn.contract import tensorrt as library
from edge_rnn.contract.errors import EngineError, MissingDependency, UsageError
from edge_rnn.contract.plans import engines_folder
from edge_rnn.contract.signature import InputSpec, Manifest, OutputSpec, StateSpec
from edge_rnn.contract.tensorrt import Library, find_library
from exporters.tensorrt.inspection import Inspection, check_inspection, read_log, table

Capability = enum.Enum("Capability", ["NONE", "CURRENT", "SM75", "SM89", "SM120"])
RTX = Library(SimpleNamespace(ComputeCapability=Capability), "tensorrt_rtx", "1.7")
PLAIN = Library(SimpleNamespace(), "tensorrt", "10.3")

TOLD = (
    "Engine Layer Information:\n"
    "Name: gemm_0, LayerType: gemm, Inputs: [ { Name: x, Dimensions: [-1,5], Datatype: Float, Format: (Linear) }],"
    " Outputs: [ { Name: a, Datatype: Float }], TacticName: t, StreamId: 0, Metadata: [ONNX Layer: a/MatMul][ONNX Layer: a/Add]\n"
    "Name: gates_1, LayerType: kgen, Inputs: [], Constants: [], Metadata: [ONNX Layer: b]\n"
    "\nI/O Tensors:\n"
    " Name: x, IOMode: Input, DataType: Float, Dimensions: [1,-1,5], Location: Device\n"
    " Name: h, IOMode: Input, DataType: Float, Dimensions: [-1,4], Location: Device\n"
    " Name: y, IOMode: Output, DataType: Float, Dimensions: [1,-1,2], Location: Device\n"
    " Name: h.next, IOMode: Output, DataType: Float, Dimensions: [-1,4], Location: Device\n"
)
AXES = ("time", "batch", "feature")
MANIFEST = Manifest(
    format=1,
    name="net",
    graph="step.onnx",
    precision="fp32",
    opset=17,
    onnxruntime="1.12",
    inputs=(InputSpec(name="x", dtype="float32", shape=("time", "batch", 5), axes=AXES),),
    outputs=(OutputSpec(name="y", dtype="float32", shape=("time", "batch", 2), axes=AXES),),
    states=(StateSpec(name="h", input="h", output="h.next", dtype="float32", shape=("batch", 4)),),
)


def test_gpu_of_the_builders_list_is_taken() -> None:
    assert list(RTX.gpus()) == ["sm_75", "sm_89", "sm_120"]
    assert RTX.check_gpu("sm_89") == "sm_89"


@pytest.mark.parametrize("gpu", ["sm_87", "sm_90", "SM89", "", None])
def test_gpu_outside_the_builders_list_is_refused_with_the_list(gpu: str | None) -> None:
    told = "needs --gpu" if gpu is None else f"--gpu {gpu} is not among them"
    with pytest.raises(UsageError, match=rf"tensorrt_rtx 1.7 builds engines for sm_75, sm_89, sm_120; .*{told}"):
        RTX.check_gpu(gpu)


def test_tensorrt_builds_for_the_gpu_that_is_present_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "present_gpu", lambda: "sm_87")
    assert PLAIN.check_gpu("sm_87") == "sm_87"
    with pytest.raises(UsageError, match="builds engines for sm_87; --gpu sm_89"):
        PLAIN.check_gpu("sm_89")
    monkeypatch.setattr(library, "present_gpu", lambda: None)
    with pytest.raises(UsageError, match="there is no GPU here"):
        PLAIN.check_gpu("sm_89")


@pytest.mark.parametrize(("result", "expected"), [(0, "sm_87"), (100, None)])
def test_present_gpu_is_what_the_driver_says(
    monkeypatch: pytest.MonkeyPatch, result: int, expected: str | None
) -> None:
    def attribute(number: object, which: int, device: int) -> int:
        number._obj.value = {75: 8, 76: 7}[which]
        return result

    driver = SimpleNamespace(cuInit=lambda flags: 0, cuDeviceGetAttribute=attribute)
    monkeypatch.setattr(library.ctypes, "CDLL", lambda name: driver)
    assert library.present_gpu() == expected


def test_present_gpu_without_a_driver_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(library.ctypes, "CDLL", missing)
    assert library.present_gpu() is None


def test_either_library_is_found_and_none_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"tensorrt": SimpleNamespace(__version__="10.3.0")}

    def importing(name: str) -> object:
        if name not in there:
            raise ImportError(name)
        return there[name]

    monkeypatch.setattr(importlib, "import_module", importing)
    assert (find_library().name, find_library().version) == ("tensorrt", "10.3.0")
    there["tensorrt_rtx_bindings"] = SimpleNamespace(__version__="1.7.1")
    assert find_library().name == "tensorrt_rtx"
    there.clear()
    with pytest.raises(MissingDependency, match=r"pip install 'edge-rnn\[rtx\]'"):
        find_library()


@pytest.mark.parametrize(
    ("target", "gpu", "cache", "precision", "told"),
    [
        ("cuda", None, None, "fp32", "--target is 'cuda', expected onnx or tensorrt"),
        ("onnx", "sm_89", None, "fp32", "--gpu goes with --target tensorrt"),
        ("onnx", None, Path("engines"), "fp32", "--cache-dir goes with --target tensorrt"),
        ("tensorrt", "sm_89", None, "fp8", "--precision is 'fp8', engines are in fp32, fp16, bf16, int8"),
        ("tensorrt", "sm_90", None, "fp32", "sm_75, sm_89, sm_120; --gpu sm_90"),
    ],
)
def test_target_asked_for_wrongly_says_what_fits(
    monkeypatch: pytest.MonkeyPatch, target: str, gpu: str | None, cache: Path | None, precision: str, told: str
) -> None:
    monkeypatch.setattr(library, "find_library", lambda: RTX)
    with pytest.raises(UsageError, match=told):
        ahead_of(target, gpu, cache, precision)


def test_target_asked_for_rightly_keeps_engines_in_the_cache_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "find_library", lambda: RTX)
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert ahead_of("onnx", None, None, "int8") is None
    ahead = ahead_of("tensorrt", "sm_120", None, "fp32")
    assert ahead is not None
    assert (ahead.gpu, ahead.cache_dir) == ("sm_120", engines_folder()) == ("sm_120", Path("/cache/edge-rnn/engines"))


def test_inspection_reads_layers_fusions_and_states_from_what_the_builder_told() -> None:
    found = read_log(["something before", TOLD], {"MATRIX_MULTIPLY": 1, "ACTIVATION": 2})
    assert [layer.name for layer in found.layers] == ["gemm_0", "gates_1"]
    assert found.layers[0].operators == ("a/MatMul", "a/Add")
    assert found.layers[0].types == ("Float",)
    assert (found.fused, found.loops) == (1, 0)
    assert [(each.name, each.mode, each.shape) for each in found.tensors][1] == ("h", "input", (-1, 4))
    check_inspection(found, MANIFEST)
    lines = table(found, MANIFEST)
    assert "state h Float[-1, 4] -> h.next Float[-1, 4]" in lines
    assert lines[-1] == "2 layers, 1 of several operators, 0 of a loop"


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (read_log([TOLD], {"LOOP": 0, "TRIP_LIMIT": 1, "RECURRENCE": 2}), "3 layers of a loop"),
        (read_log([], {}), "told nothing of the layers"),
        (read_log([TOLD.replace("Name: h.next,", "Name: 12,")], {}), "'h.next' is missing"),
    ],
)
def test_inspection_with_a_loop_or_without_a_state_is_refused(found: Inspection, told: str) -> None:
    with pytest.raises(EngineError, match=told):
        check_inspection(found, MANIFEST)
