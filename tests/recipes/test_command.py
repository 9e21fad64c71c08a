"""``edge-rnn train``: exit status, one line, and what a script reads."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from edge_rnn.cli.main import run
from edge_rnn.models import load_run

QUICK = ["--set", "epochs=2", "--set", "hidden=4"]


def test_train_when_asked_for_json_then_prints_it_alone(tmp_path, capsys):
    assert run(["train", "weather", "-o", str(tmp_path / "run"), "--seed", "3", "--json", *QUICK]) == 0
    told = capsys.readouterr()
    result = json.loads(told.out)
    assert (result["recipe"], result["seed"], result["epochs"]) == ("weather", 3, 2)
    assert result["baseline"] == pytest.approx(2.24, abs=0.01)
    assert load_run(result["run"]).arguments["hidden"] == 4
    assert "epoch 1/2" in told.err


def test_train_when_done_then_says_where_and_how_good(tmp_path, capsys):
    assert run(["train", "weather", "-o", str(tmp_path / "run"), *QUICK]) == 0
    out = capsys.readouterr().out
    assert str(tmp_path / "run") in out
    assert "baseline 2.240" in out
    assert f"look at: {tmp_path / 'run' / 'report.html'}" in out
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"report.html", "report.txt", "run.toml", "events", "streams.csv", "curves.png"} <= names
    page = (tmp_path / "run/report.html").read_text()
    for told in ("weather", "mean absolute error in °C", "2.240", "Residuals on the test part", "Seattle 2015"):
        assert told in page


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["wether"], "activity, cartpole, dates"),
        (["weather", "--set", "hiden=4"], "cell, hidden"),
        (["weather", "--set", "hidden=four"], "a whole number"),
        (["weather", "--set", "hidden"], "KEY=VALUE"),
        (["weather", "--set", "hidden=4", "--set", "hidden=5"], "twice"),
        (["weather", "--set", "activation=relu"], "fixed activations"),
        (["weather", "--set", "momentum=0.9"], "momentum"),
        (["weather", "--seed", "-1"], "seed"),
    ],
)
def test_train_when_the_call_is_wrong_then_exits_2_with_one_line(tmp_path, capsys, arguments, said):
    assert run(["train", *arguments, "-o", str(tmp_path / "run")]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_train_when_the_output_is_not_a_run_then_refuses_before_training(tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    assert run(["train", "weather", "-o", str(tmp_path)]) == 2
    assert "is not a run" in capsys.readouterr().err


def test_train_when_torch_is_missing_then_gives_the_pip_line(tmp_path):
    code = "import sys; sys.modules['torch'] = None; from edge_rnn.cli.main import run; sys.exit(run(sys.argv[1:]))"
    call = [sys.executable, "-c", code, "train", "weather", "-o", str(tmp_path / "run")]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "pip install 'edge-rnn[recipes]'" in done.stderr
    assert done.stderr.count("\n") == 1


def test_train_when_only_its_module_is_imported_then_torch_is_not():
    code = "import sys, edge_rnn.cli.train, edge_rnn.recipes; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
