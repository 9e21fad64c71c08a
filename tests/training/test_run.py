"""The run directory and the settings given as text."""

from __future__ import annotations

import json

import pytest

from edge_rnn.contract.errors import UsageError
from edge_rnn.models import build, load_run, read_model_file
from edge_rnn.training import History, Settings, write_run
from edge_rnn.training.settings import override


def test_write_run_when_done_then_holds_model_history_picture_and_report(tmp_path):
    model = build("gru", inputs=2, outputs=1)
    history = History([1.0, 0.5, 0.01], [1.0, 0.7, 0.8], 2)
    write_run(
        tmp_path / "run", model, history, Settings(), recipe="weather", score={"value": 2}, seed=7, report="good\n"
    )
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {"model.json", "weights.safetensors", "history.json", "curves.png", "report.txt"}
    assert json.loads((tmp_path / "run/history.json").read_text())["best_epoch"] == 2
    assert (tmp_path / "run/curves.png").read_bytes().startswith(b"\x89PNG")
    described = read_model_file(tmp_path / "run")
    assert (described.settings["seed"], described.settings["cell"], described.recipe) == (7, "gru", "weather")
    assert load_run(tmp_path / "run").name == "gru"


def test_override_when_given_text_then_parses_by_the_setting_s_type():
    changed = override(Settings(), {"cell": "lstm", "hidden": "48", "dropout": ".5", "learning_rate": "1e-3"})
    assert (changed.cell, changed.hidden, changed.dropout, changed.learning_rate) == ("lstm", 48, 0.5, 0.001)


def test_override_when_several_widths_or_a_switch_are_given_then_parses_them():
    changed = override(Settings(), {"hidden": "128,64", "bidirectional": "true"})
    assert (changed.hidden, changed.bidirectional) == ((128, 64), True)


@pytest.mark.parametrize(
    ("key", "text", "said"),
    [
        ("hiden", "3", "cell, hidden, layers"),
        ("hidden", "many", "a whole number at least 1"),
        ("hidden", "0", "a whole number at least 1"),
        ("hidden", "1.5", "a whole number"),
        ("hidden", "4,0", "several with commas"),
        ("bidirectional", "perhaps", "true or false"),
        ("dropout", "1", "at least 0 and below 1"),
        ("learning_rate", "nan", "a number above 0"),
        ("cell", "rnn", "one of elman, gru, jordan, lstm"),
    ],
)
def test_override_when_wrong_then_lists_what_is_valid(key, text, said):
    with pytest.raises(UsageError, match=said):
        override(Settings(), {key: text})
