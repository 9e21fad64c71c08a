"""A TOML file for a run, read and written."""

from __future__ import annotations

import pytest

from edge_rnn.cli.main import run
from edge_rnn.contract.errors import UsageError
from edge_rnn.models import read_model_file
from edge_rnn.training import Settings
from edge_rnn.training.run_file import read_run_file, write_run_file
from edge_rnn.training.settings import override

QUICK = 'epochs = 2\nhidden = [6, 4]\nlearning-rate = 2e-3\ncell = "gru"\n'


def test_run_file_when_written_and_read_then_gives_the_same_settings(tmp_path):
    settings = Settings(hidden=(8, 4), bidirectional=True, l2=1e-5, cell="lstm", loss_on="last", epochs=3)
    (tmp_path / "run.toml").write_bytes(write_run_file("weather", settings, 9))
    found = read_run_file(tmp_path / "run.toml")
    assert (found.pop("recipe"), found.pop("seed")) == ("weather", "9")
    assert override(Settings(), found) == settings


def test_train_when_a_setting_is_given_thrice_then_flag_beats_environment_beats_file(tmp_path, monkeypatch):
    (tmp_path / "my.toml").write_text(QUICK + "seed = 3\nbatch = 2\nchunk = 20\n")
    monkeypatch.setenv("EDGE_RNN_BATCH", "4")
    monkeypatch.setenv("EDGE_RNN_CHUNK", "40")
    call = ["train", "weather", "-o", str(tmp_path / "run"), "--config", str(tmp_path / "my.toml"), "--set", "chunk=80"]
    assert run(call) == 0
    found = read_model_file(tmp_path / "run").settings
    assert (found["hidden"], found["seed"], found["learning_rate"]) == ([6, 4], 3, 0.002)
    assert (found["batch"], found["chunk"]) == (4, 80)
    monkeypatch.delenv("EDGE_RNN_BATCH"), monkeypatch.delenv("EDGE_RNN_CHUNK")
    assert run([*call[:2], "-o", str(tmp_path / "again"), "--config", str(tmp_path / "run/run.toml")]) == 0
    weights = [(tmp_path / name / "weights.safetensors").read_bytes() for name in ("run", "again")]
    assert weights[0] == weights[1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("hiden = 3", "known are recipe, seed, cell, hidden"),
        ("hidden = {a = 1}", "expected text, a number"),
        ("hidden = ", "is not TOML"),
        ("hidden = 0", "a whole number at least 1"),
        ('recipe = "digits"', "another recipe than weather"),
        ("seed = -1", "a whole number at least 0"),
    ],
)
def test_train_when_the_file_is_wrong_then_exits_2_with_one_line(tmp_path, capsys, text, said):
    (tmp_path / "my.toml").write_text(text)
    call = ["train", "weather", "-o", str(tmp_path / "run"), "--config", str(tmp_path / "my.toml")]
    assert run(call) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


def test_read_run_file_when_missing_then_says_so(tmp_path):
    with pytest.raises(UsageError, match=r"none\.toml cannot be read"):
        read_run_file(tmp_path / "none.toml")
