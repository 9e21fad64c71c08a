"""int8: smaller, near fp32, and no stream ever notices another."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from edge_rnn.cli.inspect import describe
from edge_rnn.contract import stepgraph
from edge_rnn.contract.bundle import GOLDEN, ONE_STEP, WEIGHTS, Bundle, open_bundle
from edge_rnn.contract.errors import EngineError, ExportRefused, GateFailed, UsageError
from edge_rnn.contract.stepgraph import first_states, open_step_graph
from edge_rnn.contract.verification import verify_bundle
from exporters.precision import convert
from exporters.precision.convert import Wanted, convert_bundle
from exporters.precision.one_step import shorten
from exporters.precision.quantise import Quantised
from exporters.precision.recurrent import take_apart, weights_of
from tests.exporters.foreign.graphs import by_hand
from tests.exporters.foreign.plain import import_graph
from tests.exporters.precision.models import fp32_bundle

KINDS = [nn.LSTM, nn.GRU]
HIDDEN, FEATURES = 256, 24


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: kind.__name__)
def exact(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The module in fp32."""
    return fp32_bundle(tmp_path_factory.mktemp("fp32") / "b", request.param, HIDDEN)


@pytest.fixture(scope="module")
def small(exact: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The same in int8, with weights that any CPU takes."""
    return convert_bundle(exact, tmp_path_factory.mktemp("int8") / "b", Wanted("int8", weight_bits=7))


def run(bundle: Bundle, x: np.ndarray, chunks: list[int]) -> np.ndarray:
    """Outputs of fresh streams in calls of these sizes."""
    step, states = open_step_graph(bundle), first_states(bundle, x.shape[1])
    parts, start = [], 0
    for size in chunks:
        outputs, states = step([x[start : start + size]], states)
        parts.append(outputs[0])
        start += size
    return np.concatenate(parts)


def graph_bytes(bundle: Bundle) -> int:
    """Bytes of the graphs and what they hold."""
    return sum((bundle.path / name).stat().st_size for name in bundle.manifest.files if name != GOLDEN)


def test_int8_is_smaller_and_near_fp32(exact: Bundle, small: Bundle) -> None:
    assert graph_bytes(exact) >= 3.5 * graph_bytes(small)
    accuracy = small.manifest.accuracy
    assert accuracy is not None
    assert accuracy.weight_bits == 7
    for figure in (accuracy.golden, accuracy.calibration):
        assert 0 < figure.drop < 0.03
        assert figure.rms_error < figure.max_abs_error
    rng = np.random.default_rng(8)
    x = rng.standard_normal((50, 3, FEATURES)).astype(np.float32)
    expected = run(exact, x, [50])
    assert np.abs(run(small, x, [50]) - expected).max() < 0.1 * expected.std()
    verify_bundle(small)


def test_int8_gives_every_bit_beside_neighbours_fifty_times_louder(small: Bundle) -> None:
    rng = np.random.default_rng(9)
    steps = 1000
    mine = rng.standard_normal((steps, 1, FEATURES)).astype(np.float32)
    alone = run(small, mine, [1] * steps)
    for batch, size in ((3, 1), (7, 20), (17, 50)):
        crowd = (50 * rng.standard_normal((steps, batch, FEATURES))).astype(np.float32)
        place = batch // 2
        crowd[:, place : place + 1] = mine
        found = run(small, crowd, [size] * (steps // size))[:, place : place + 1]
        assert found.tobytes() == alone.tobytes()


def test_int8_runs_calls_of_one_step_in_a_graph_without_a_scan_to_the_same_bits(small: Bundle) -> None:
    assert small.manifest.one_step == ONE_STEP
    assert small.one_step_path is not None
    kinds = [node.op_type for node in onnx.load(str(small.one_step_path)).graph.node]
    assert not {"Scan", "Identity", "Squeeze", "Unsqueeze"} & set(kinds)
    assert "one-step.onnx runs calls of one step" in "\n".join(describe(small))
    scanned = replace(small, manifest=msgspec.structs.replace(small.manifest, one_step=None))
    rng = np.random.default_rng(14)
    for batch in (1, 5, 33):
        x = (3 * rng.standard_normal((40, batch, FEATURES))).astype(np.float32)
        expected = run(scanned, x, [1] * 40)
        assert run(small, x, [1] * 40).tobytes() == expected.tobytes()
        assert run(small, x, [1, 7, 1, 16, 15]).tobytes() == expected.tobytes()


def test_calls_of_one_step_and_no_others_go_to_their_graph(small: Bundle, tmp_path: Path) -> None:
    shutil.copytree(small.path, tmp_path / "b")
    model = onnx.load(str(tmp_path / "b" / ONE_STEP))
    last = next(node for node in model.graph.node if node.output[0] == "y")
    last.output[0] = "y.before"
    model.graph.node.append(helper.make_node("Neg", ["y.before"], ["y"]))
    onnx.save(model, str(tmp_path / "b" / ONE_STEP))
    other = open_bundle(tmp_path / "b", check_files=False)
    x = np.random.default_rng(15).standard_normal((6, 2, FEATURES)).astype(np.float32)
    assert np.array_equal(run(other, x, [3, 3]), run(small, x, [3, 3]))
    assert np.array_equal(run(other, x, [1] * 6), -run(small, x, [1] * 6))


def test_a_graph_of_one_step_that_gives_other_bits_is_left_out(
    exact: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bent(graph: onnx.GraphProto, ys: list[str]) -> None:
        shorten(graph, ys)
        for tensor in graph.initializer:
            if tensor.name == "head.value":
                tensor.CopyFrom(numpy_helper.from_array(np.nextafter(numpy_helper.to_array(tensor), 9), tensor.name))

    monkeypatch.setattr(convert, "shorten", bent)
    bundle = convert_bundle(exact, tmp_path / "b", Wanted("int8", weight_bits=7))
    assert bundle.manifest.one_step is None
    assert {ONE_STEP, WEIGHTS}.isdisjoint(bundle.manifest.files)
    verify_bundle(bundle)


def test_int8_that_drops_more_than_allowed_writes_nothing(exact: Bundle, tmp_path: Path) -> None:
    with pytest.raises(GateFailed, match=r"answers drop by .* --max-drop allows 0.0001"):
        convert_bundle(exact, tmp_path / "b", Wanted("int8", max_drop=0.0001, weight_bits=7))
    assert list(tmp_path.iterdir()) == []


def test_int8_of_eight_bits_does_not_open_where_sums_overflow(
    exact: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stepgraph, "adds_eight_bits", lambda: True)
    bundle = convert_bundle(exact, tmp_path / "b", Wanted("int8", max_drop=1.0, weight_bits=8))
    monkeypatch.setattr(stepgraph, "adds_eight_bits", lambda: False)
    with pytest.raises(EngineError, match="--weight-bits 7"):
        open_step_graph(bundle)


def test_int8_keeps_two_layers_and_their_states(tmp_path: Path) -> None:
    exact = fp32_bundle(tmp_path / "fp32", nn.GRU, 128, layers=2)
    small = convert_bundle(exact, tmp_path / "int8", Wanted("int8", weight_bits=7))
    assert small.manifest.states == exact.manifest.states
    assert small.manifest.precision == "int8"
    kinds = {node.op_type for node in onnx.load(str(small.graph_path)).graph.node}
    assert "GRU" not in kinds
    assert "Scan" in kinds
    assert small.manifest.one_step == ONE_STEP
    verify_bundle(small)


def test_fp16_is_half_the_size_and_nearer(exact: Bundle, small: Bundle, tmp_path: Path) -> None:
    half = convert_bundle(exact, tmp_path / "b", Wanted("fp16"))
    assert half.graph_path.stat().st_size < 0.52 * exact.graph_path.stat().st_size
    assert half.manifest.accuracy is not None
    assert small.manifest.accuracy is not None
    assert half.manifest.accuracy.golden.drop < 0.1 * small.manifest.accuracy.golden.drop


def test_int8_calibrates_on_a_file_of_streams(exact: Bundle, tmp_path: Path) -> None:
    rng = np.random.default_rng(10)
    x = (0.3 * rng.standard_normal((40, 2, FEATURES))).astype(np.float32)
    header = ",".join(["key", *(f"f{i}" for i in range(FEATURES))])
    rows = [",".join([f"s{b}", *map(str, x[t, b])]) for t in range(40) for b in range(2)]
    (tmp_path / "rows.csv").write_text("\n".join([header, *rows]))
    np.savez(tmp_path / "rows.npz", x=x)
    for name, steps in (("rows.csv", 80), ("rows.npz", 80)):
        bundle = convert_bundle(exact, tmp_path / "b", Wanted("int8", tmp_path / name, 1.0, 7))
        assert bundle.manifest.accuracy is not None
        assert bundle.manifest.accuracy.source == name
        assert bundle.manifest.accuracy.calibration.steps == steps


def test_int8_calibrated_on_a_file_that_is_no_archive_says_how_to_write_one(exact: Bundle, tmp_path: Path) -> None:
    (tmp_path / "rows.npz").write_bytes(b"key,f0")
    with pytest.raises(UsageError, match=r"rows\.npz is not what numpy\.savez writes; save an array for each input"):
        convert_bundle(exact, tmp_path / "b", Wanted("int8", tmp_path / "rows.npz"))


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        (Wanted("int8", Path("none.csv")), "does not exist"),
        (Wanted("int8", Path(__file__)), "expected .csv, .npz or .wav"),
        (Wanted("int8", max_drop=2.0), "a share from 0 to 1"),
        (Wanted("int8", weight_bits=4), "expected 7 or 8"),
    ],
)
def test_conversion_asked_for_wrongly_says_what_fits(exact: Bundle, tmp_path: Path, wanted: Wanted, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        convert_bundle(exact, tmp_path / "b", wanted)


def test_int8_of_a_model_without_anything_to_quantise_is_refused(tmp_path: Path) -> None:
    exact = fp32_bundle(tmp_path / "fp32", nn.RNN, 16)
    with pytest.raises(ExportRefused, match="nothing to quantise"):
        convert_bundle(exact, tmp_path / "b", Wanted("int8"))


def test_int8_of_a_graph_of_an_old_opset_is_refused_with_the_remedy(tmp_path: Path) -> None:
    def product() -> onnx.GraphProto:
        weight = np.random.default_rng(13).standard_normal((128, 128)).astype(np.float32)
        x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 128]) for name in "xy")
        node = helper.make_node("MatMul", ["x", "weight"], ["y"])
        return helper.make_graph([node], "old", [x], [y], [numpy_helper.from_array(weight, "weight")])

    for opset in (9, 13):
        exact = import_graph(by_hand(tmp_path / "old.onnx", product, opset), tmp_path / "fp32").bundle
        if opset == 9:
            with pytest.raises(
                ExportRefused, match="the graph is of opset 9, int8 needs 13 or later; export the model"
            ):
                convert_bundle(exact, tmp_path / "int8", Wanted("int8", weight_bits=7))
        else:
            convert_bundle(exact, tmp_path / "int8", Wanted("int8", weight_bits=7))


@pytest.mark.parametrize("after", [0, 1], ids=["reset before", "reset after"])
def test_decomposed_gru_computes_the_operators_equations(after: int) -> None:
    """With weights and activations that int8 holds exactly, taking apart changes nothing but rounding."""
    rng, hidden, features = np.random.default_rng(11), 8, 4
    kept = {
        "W": (rng.integers(-63, 64, (1, 3 * hidden, features)) / 64).astype(np.float32),
        "R": (rng.integers(-63, 64, (1, 3 * hidden, hidden)) / 64).astype(np.float32),
        "B": rng.standard_normal((1, 6 * hidden)).astype(np.float32),
    }
    for name in ("W", "R"):
        kept[name][0, :, 0] = 63 / 64  # the largest of each output: its step is then 1/64
    node = helper.make_node(
        "GRU", ["x", "W", "R", "B", "", "h"], ["Y", "last"], hidden_size=hidden, linear_before_reset=after
    )
    added = take_apart(node, weights_of(node, kept), (127 / 128, 127 / 128), 7)
    alone = take_apart(node, weights_of(node, kept), (127 / 128, 127 / 128), 7, one_step=True)
    x = (rng.integers(-127, 128, (1, 3, features)) / 128).astype(np.float32)
    h = (rng.integers(-127, 128, (1, 3, hidden)) / 128 * after).astype(
        np.float32
    )  # reset before, it is not held exactly
    found = [
        _run(nodes, weights, x, h, hidden)
        for nodes, weights in (
            ([node], [numpy_helper.from_array(value, name) for name, value in kept.items()]),
            (added.nodes, added.weights),
            (alone.nodes, alone.weights),
        )
    ]
    assert np.abs(found[0] - found[1]).max() < 1e-6
    assert found[1].tobytes() == found[2].tobytes()


def test_quantised_weights_are_within_half_a_step() -> None:
    weight = np.random.default_rng(12).standard_normal((32, 16)).astype(np.float32)
    for bits, most in ((7, 63), (8, 127)):
        found = Quantised.of(weight, bits)
        assert np.abs(found.values).max() == most
        assert (np.abs(found.values * found.scales - weight) <= 0.5001 * found.scales).all()


def test_steps_of_a_gate_serve_input_and_state_though_one_be_zeros() -> None:
    """The sums of both are added before they are scaled, so neither may be cut off, and nothing divides by zero."""
    rng, hidden = np.random.default_rng(14), 8
    w, r = (rng.standard_normal((1, 3 * hidden, size)).astype(np.float32) for size in (4, hidden))
    w[0, 0], r[0, 1], w[0, 2], r[0, 2] = 0, 0, 0, 0
    kept = {"W": w, "R": r, "B": rng.standard_normal((1, 6 * hidden)).astype(np.float32)}
    node = helper.make_node("GRU", ["x", "W", "R", "B", "", "h"], ["Y"], hidden_size=hidden, linear_before_reset=1)
    x = (5 * rng.uniform(-1, 1, (1, 64, 4))).astype(np.float32)
    h = rng.uniform(-1, 1, (1, 64, hidden)).astype(np.float32)
    exact = _run([node], [numpy_helper.from_array(value, name) for name, value in kept.items()], x, h, hidden)
    added = take_apart(node, weights_of(node, kept), (5.0, 1.0), 8, one_step=True)
    steps = next(numpy_helper.to_array(each) for each in added.weights if each.name.endswith("zr.steps"))
    assert (steps > 0).all()
    assert steps[2] == 1
    apart = np.abs(exact - _run(added.nodes, added.weights, x, h, hidden))
    assert apart.max() < 0.15
    assert apart.mean() < 0.01


def _run(
    nodes: list[onnx.NodeProto], weights: list[TensorProto], x: np.ndarray, h: np.ndarray, hidden: int
) -> np.ndarray:
    import onnxruntime

    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)]
    inputs.append(helper.make_tensor_value_info("h", TensorProto.FLOAT, h.shape))
    output = helper.make_tensor_value_info("Y", TensorProto.FLOAT, None)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(helper.make_graph(nodes, "g", inputs, [output], weights), opset_imports=opsets)
    model.ir_version = 8
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["Y"], {"x": x, "h": h})[0])
