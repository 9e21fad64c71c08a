"""A run survives the disk, and a damaged one is refused in one line."""

from __future__ import annotations

import json

import pytest
import torch

from edge_rnn.contract.errors import BundleError, UsageError
from edge_rnn.models import build, load_run, read_model_file, save

CELLS = [("elman", "relu"), ("elman", "sigmoid"), ("jordan", "tanh"), ("lstm", "tanh"), ("gru", "tanh")]


@pytest.fixture
def run(tmp_path):
    model = build("gru", inputs=3, outputs=2, hidden=4, features=("a", "b", "c"), labels=("u", "v"))
    model.scaler.fit(torch.randn(20, 3) + 5)
    save(tmp_path / "run", model, recipe="weather", score={"value": 1.5}, files={"note.txt": b"hi"})
    return tmp_path / "run"


@pytest.mark.parametrize(("cell", "activation"), CELLS)
@pytest.mark.parametrize("task", ["regression", "classification"])
def test_load_run_when_saved_then_computes_the_same_bits(tmp_path, cell, activation, task):
    model = build(cell, inputs=3, outputs=2, hidden=4, layers=2, activation=activation, task=task, dropout=0.2).eval()
    model.scaler.fit(torch.randn(20, 3) + 5)
    save(tmp_path / "run", model)
    loaded = load_run(tmp_path / "run")
    x = torch.randn(6, 2, 3)
    assert torch.equal(loaded(x)[0], model(x)[0])
    assert (loaded.task, loaded.name, loaded.arguments) == (task, cell, model.arguments)
    assert not loaded.training


def test_save_when_done_then_model_json_says_all(run):
    described = read_model_file(run)
    assert (described.name, described.recipe, described.score) == ("gru", "weather", {"value": 1.5})
    assert described.features == ("a", "b", "c") == load_run(run).features
    assert (run / "note.txt").read_bytes() == b"hi"
    assert [path.name for path in run.parent.iterdir()] == ["run"]


def test_save_when_a_run_is_there_then_replaces_it_whole(run):
    save(run, build("lstm", inputs=1, outputs=1))
    assert load_run(run).name == "lstm"
    assert not (run / "note.txt").exists()
    assert [path.name for path in run.parent.iterdir()] == ["run"]


def test_save_when_the_path_is_something_else_then_refuses_and_keeps_it(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match="is not a run"):
        save(tmp_path, build("gru", inputs=1, outputs=1))
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize("missing", ["model.json", "weights.safetensors", ""])
def test_load_run_when_a_file_is_missing_then_says_what_to_do(run, missing):
    path = run / missing if missing else run.with_name("nowhere")
    path.unlink(missing_ok=True)
    with pytest.raises(UsageError, match="edge-rnn train") as caught:
        load_run(run if missing else path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("file", "data"),
    [
        ("model.json", b"{"),
        ("model.json", b"[]"),
        ("model.json", b'{"format": 1}'),
        ("model.json", b"\xff\xfe"),
        ("weights.safetensors", b"garbage"),
        ("weights.safetensors", b""),
    ],
)
def test_load_run_when_a_file_is_damaged_then_names_it_in_one_line(run, file, data):
    (run / file).write_bytes(data)
    with pytest.raises(BundleError, match=file) as caught:
        load_run(run)
    assert "\n" not in str(caught.value)
    assert "edge-rnn train" in str(caught.value)


@pytest.mark.parametrize(
    ("field", "value"), [("format", 2), ("name", "transformer"), ("arguments", {"inputs": 3, "outputs": 9})]
)
def test_load_run_when_model_json_does_not_fit_then_refuses(run, field, value):
    described = json.loads((run / "model.json").read_text())
    (run / "model.json").write_text(json.dumps({**described, field: value}))
    with pytest.raises(BundleError, match=r"model\.json"):
        load_run(run)
