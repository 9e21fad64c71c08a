"""Every model of the house: exported, proved, and run again from the bundle."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_rnn.contract.bundle import Bundle, open_bundle
from edge_rnn.contract.gates import TOLERANCE
from edge_rnn.contract.golden import load_golden
from edge_rnn.contract.stepgraph import open_step_graph
from edge_rnn.contract.trial import run_chunks
from edge_rnn.contract.verification import subject_of, verify_bundle
from exporters.export import export_bundle
from tests.exporters.models import CASES, LABELS, Case, source


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_export_of_every_model_passes_all_gates(case: Case, tmp_path: Path) -> None:
    model = case.make()
    bundle = export_bundle(source(case), tmp_path / "b")
    manifest = bundle.manifest
    assert manifest.gates is not None
    for figure in (manifest.gates.parity, manifest.gates.isolation, manifest.gates.chunking):
        assert figure.max_abs_error <= figure.bound
        assert (figure.steps, figure.batch) == (256, 8)
    assert manifest.gates.bit_stability.holds
    assert tuple(state.name for state in manifest.states) == model.state_names
    assert all(state.output == f"{state.name}.next" and state.shape == (1, "batch", 13) for state in manifest.states)
    assert manifest.inputs[0].features == model.features
    (output,) = manifest.outputs
    logits = case.task == "classification"
    assert (output.kind, output.labels) == (("logits", LABELS) if logits else ("values", None))
    onnx.checker.check_model(str(bundle.graph_path), full_check=True)
    golden = load_golden(bundle)
    with torch.no_grad():
        expected, state = model.eval()(torch.from_numpy(golden.inputs[0]))
    largest = max(1.0, float(expected.abs().max()))
    assert np.abs(golden.record.outputs[0] - expected.numpy()).max() <= TOLERANCE * largest
    last = golden.record.states[256]
    for name, value in zip(model.state_names, last, strict=True):
        assert np.allclose(np.moveaxis(state[name].numpy(), 1, 0), value, atol=1e-6)


@pytest.fixture(scope="module")
def lstm(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return export_bundle(source(Case("lstm", 2, "regression")), tmp_path_factory.mktemp("lstm") / "b")


def test_verify_bundle_from_the_bundle_alone_gives_the_figures_again(lstm: Bundle) -> None:
    report, recorded = verify_bundle(open_bundle(lstm.path)), lstm.manifest.gates
    assert recorded is not None
    assert report.bit_stability == recorded.bit_stability
    assert report.parity.max_abs_error <= recorded.parity.bound
    assert (report.parity.steps, report.parity.batch) == (256, 2)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=6))
def test_step_graph_any_chunking_gives_the_same(lstm: Bundle, chunks: list[int]) -> None:
    subject = subject_of(lstm, open_step_graph(lstm))
    inputs = [value[: sum(chunks)] for value in load_golden(lstm).inputs]
    found, single = run_chunks(subject, inputs, chunks), run_chunks(subject, inputs, [1] * sum(chunks))
    for value, reference in zip(
        [*found.outputs, *found.states[sum(chunks)]], [*single.outputs, *single.states[sum(chunks)]], strict=True
    ):
        assert np.abs(value - reference).max() <= 1e-6 * max(1.0, float(np.abs(reference).max()))


def test_export_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    case = Case("gru", 1, "classification")
    first, second = (export_bundle(source(case), tmp_path / name, name="same") for name in ("a", "b"))
    assert first.digest == second.digest
    for name in ("manifest.json", "step.onnx", "golden.npz"):
        assert (first.path / name).read_bytes() == (second.path / name).read_bytes()


def test_export_does_not_change_the_module(tmp_path: Path) -> None:
    made = source(Case("lstm", 2, "regression"))
    made.module.train()
    export_bundle(made, tmp_path / "b")
    assert made.module.training
    assert not any(module._forward_hooks for module in made.module.modules())


def test_export_of_a_large_untrained_lstm_stays_within_the_bound(tmp_path: Path) -> None:
    bundle = export_bundle(source(Case("lstm", 2, "classification"), hidden=128), tmp_path / "b")
    assert bundle.manifest.gates is not None
    assert 0 < bundle.manifest.gates.parity.max_abs_error <= bundle.manifest.gates.parity.bound
