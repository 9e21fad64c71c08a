"""States that a file does not expose: cut where whole sequence and chunks prove it, refused by node where not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from edge_rnn.contract.errors import ExportRefused
from edge_rnn.contract.verification import verify_bundle
from tests.exporters.foreign.graphs import (
    HIDDEN,
    LastStep,
    LooksAhead,
    MeanOverTime,
    Tagger,
    by_hand,
    lstm_with_first_state,
    scan_leaky,
    switch_with_state,
    tagger_file,
)
from tests.exporters.foreign.plain import bundle_run, import_graph, noise, open_plain


def whole(path: Path, rows: np.ndarray) -> np.ndarray:
    """The file over whole sequences: ``[stream, time, numbers]`` of batch-first files."""
    (y,) = open_plain(path).run(["y"], {"x": np.ascontiguousarray(rows.swapaxes(0, 1))})
    return np.asarray(y)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("layers", [1, 2])
def test_import_of_torchs_older_export_exposes_each_layer(kind: type[nn.RNNBase], layers: int, tmp_path: Path) -> None:
    path = tagger_file(Tagger(kind, layers, batch_first=True), tmp_path / "m.onnx")
    imported = import_graph(path, tmp_path / "b")
    manifest = imported.bundle.manifest
    assert len(manifest.states) == layers * (2 if kind is nn.LSTM else 1)
    assert manifest.has_time
    assert manifest.batch_limit is None
    rows = noise(40, 3, (5,))
    assert np.abs(bundle_run(imported, rows) - whole(path, rows)).max() <= 1e-6
    verify_bundle(imported.bundle)


def test_import_of_torchs_newer_export_exposes_the_layer(tmp_path: Path) -> None:
    path = tagger_file(Tagger(nn.GRU, batch_first=True), tmp_path / "m.onnx", dynamo=True)
    imported = import_graph(path, tmp_path / "b")
    assert {state.row_shape for state in imported.bundle.manifest.states} == {(1, HIDDEN)}
    rows = noise(40, 3, (5,))
    assert np.abs(bundle_run(imported, rows) - whole(path, rows)).max() <= 1e-6


def test_import_of_a_frozen_time_axis_sets_it_free(tmp_path: Path) -> None:
    path = tagger_file(Tagger(batch_first=True), tmp_path / "m.onnx", {0: "batch"})
    imported = import_graph(path, tmp_path / "b")
    assert imported.bundle.manifest.has_time
    rows = noise(7, 3, (5,))  # the length that the file was traced with
    assert np.abs(bundle_run(imported, rows) - whole(path, rows)).max() <= 1e-6


def test_import_of_a_model_that_answers_at_the_end_answers_at_every_step(tmp_path: Path) -> None:
    path = tagger_file(LastStep(batch_first=True), tmp_path / "m.onnx", {0: "batch", 1: "time"})
    imported = import_graph(path, tmp_path / "b")
    assert not imported.bundle.manifest.has_time
    rows = noise(20, 2, (5,))
    found = bundle_run(imported, rows)
    for end in (1, 7, 20):
        assert np.abs(found[:, end - 1] - whole(path, rows[:end])).max() <= 1e-6


def test_import_of_a_first_state_that_is_a_weight_keeps_it(tmp_path: Path) -> None:
    path = by_hand(tmp_path / "m.onnx", lstm_with_first_state)
    imported = import_graph(path, tmp_path / "b")
    manifest = imported.bundle.manifest
    assert manifest.batch_limit == 1
    h, c = manifest.states
    assert np.any(imported.bundle.initial_state(h))
    assert not np.any(imported.bundle.initial_state(c))
    rows = noise(30, 2, (5,))
    found = bundle_run(imported, rows)
    for stream in range(2):
        (y,) = open_plain(path).run(["y"], {"x": rows[:, stream : stream + 1]})
        assert np.abs(found[stream] - y[:, 0]).max() <= 1e-6


def test_import_of_a_scan_exposes_what_it_carries(tmp_path: Path) -> None:
    path = by_hand(tmp_path / "m.onnx", scan_leaky)
    imported = import_graph(path, tmp_path / "b")
    (state,) = imported.bundle.manifest.states
    assert state.shape == ("batch", 4)
    rows = noise(50, 3, (4,))
    expected, sums = np.zeros((50, 3, 4), np.float32), np.zeros((3, 4), np.float32)
    for step in range(50):
        sums = sums * np.float32(0.9) + rows[step]
        expected[step] = sums
    assert np.abs(bundle_run(imported, rows) - expected.swapaxes(0, 1)).max() <= 1e-5


@pytest.mark.parametrize(
    ("module", "told"),
    [
        (Tagger(batch_first=True, bidirectional=True), r"node '/rnn/LSTM' \(LSTM\) is bidirectional"),
        (LooksAhead(), r"node '/conv/Conv' \(Conv\) looks at steps before or after"),
        (MeanOverTime(batch_first=True), r"node '/ReduceMean' \(ReduceMean\) takes all steps together"),
    ],
    ids=["bidirectional", "look-ahead", "mean"],
)
def test_import_of_what_no_stream_can_have_names_the_node(module: nn.Module, told: str, tmp_path: Path) -> None:
    path = tagger_file(module, tmp_path / "m.onnx")
    with pytest.raises(ExportRefused, match=told):
        import_graph(path, tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_import_of_a_state_hidden_in_a_branch_takes_the_branch_that_a_constant_chooses(tmp_path: Path) -> None:
    path = by_hand(tmp_path / "m.onnx", lambda: switch_with_state(hidden=True))
    imported = import_graph(path, tmp_path / "b", constants=["sr=8000"])
    assert len(imported.bundle.manifest.states) == 1
    rows = noise(30, 2, (5,))
    (y,) = open_plain(path).run(["y"], {"x": rows, "sr": np.array(8000)})
    assert np.abs(bundle_run(imported, rows) - y.swapaxes(0, 1)).max() <= 1e-6


def test_import_gives_the_same_bundle_twice(tmp_path: Path) -> None:
    torch.manual_seed(0)
    path = tagger_file(Tagger(batch_first=True), tmp_path / "m.onnx")
    first, second = (import_graph(path, tmp_path / name).bundle for name in "ab")
    assert first.digest == second.digest
