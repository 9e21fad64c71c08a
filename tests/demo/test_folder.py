"""The demo's folder is never another's, and a second demo there replaces only what the first wrote."""

from __future__ import annotations

import pytest

from edge_rnn.cli.main import run
from edge_rnn.contract.errors import UsageError
from edge_rnn.demo.folder import DemoFolder


def test_folder_when_it_holds_something_else_then_refused_and_untouched(tmp_path, capfd):
    (tmp_path / "thesis.txt").write_text("mine")
    assert run(["demo", "--out", str(tmp_path)]) == 2
    assert "not an earlier demo's folder" in capfd.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_folder_when_it_is_a_file_then_refused(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(UsageError, match="not an earlier demo's folder"):
        DemoFolder(tmp_path / "out")


def test_folder_when_an_earlier_demos_then_its_files_go_and_others_stay(tmp_path):
    with DemoFolder(tmp_path / "out") as folder:
        folder.store.write_text("old")
        folder.run.mkdir()
        (folder.path / "notes.txt").write_text("mine")
    with DemoFolder(tmp_path / "out") as folder:
        folder.clear()
        assert not folder.store.exists()
        assert not folder.run.exists()
        assert (folder.path / "notes.txt").read_text() == "mine"


def test_folder_when_a_demo_is_running_in_it_then_refused(tmp_path):
    with DemoFolder(tmp_path / "out"), pytest.raises(UsageError, match="another demo is running"):
        DemoFolder(tmp_path / "out")


def test_demo_when_no_broker_answers_then_says_so_before_it_trains(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr("edge_rnn.demo.serving.STARTUP_S", 1.0)
    status = run(["demo", "--out", str(tmp_path / "out"), "--broker", "127.0.0.1:1", "--client", "confluent"])
    captured = capfd.readouterr()
    assert status == 1
    assert "127.0.0.1:1" in captured.err
    assert "1/6" not in captured.out


def test_demo_when_a_package_is_missing_then_names_the_extras(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr("edge_rnn.cli.demo.NEEDED", ("torch", "no_such_package"))
    assert run(["demo", "--out", str(tmp_path / "out")]) == 1
    assert (
        "needs no_such_package, which is not installed; pip install 'edge-rnn[cpu,recipes]'" in capfd.readouterr().err
    )
