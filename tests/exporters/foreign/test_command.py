"""``edge-rnn import`` as a person and a script meet it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from edge_rnn.cli.main import run
from tests.exporters.foreign.graphs import by_hand, lstm_astray, scan_leaky, switch_with_state, words

WITHOUT = """
import sys
sys.modules[{name!r}] = None
from edge_rnn.cli.main import run
sys.exit(run(sys.argv[1:]))
"""


def test_import_shows_how_the_file_is_read_and_writes_a_bundle(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = by_hand(tmp_path / "leaky.onnx", scan_leaky)
    assert run(["import", str(path), "-o", str(tmp_path / "b")]) == 0
    shown = capsys.readouterr().out
    assert "leaky.onnx is read so:" in shown
    assert "input     x  [time, batch, 4]" in shown
    assert "state     leaky.carried -> leaky.carried.next  [batch, 4]  (cut: the carried of Scan leaky was not" in shown
    assert "passed (256 steps of 8 streams)" in shown
    assert run(["verify", str(tmp_path / "b")]) == 0
    assert run(["inspect", str(tmp_path / "b")]) == 0


def test_import_as_json_is_one_object(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = by_hand(tmp_path / "m.onnx", lambda: switch_with_state(hidden=False))
    assert run(["import", str(path), "-o", str(tmp_path / "b"), "--constant", "sr=8000", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(state["input"], state["output"]) for state in found["states"]] == [("memory_in", "memory_out")]
    assert found["gates"]["parity"]["max_abs_error"] <= found["gates"]["parity"]["bound"]


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (["{tmp}/none.onnx"], 2, "does not exist; give an ONNX file"),
        (["{tmp}/text.onnx"], 2, "is not an ONNX model"),
        (["{tmp}/switch.onnx"], 2, "the input sr int64[] has no value; give it one by --constant sr=VALUE"),
        (["{tmp}/switch.onnx", "--constant", "sr=8000", "--framing", "hop=512"], 2, "do not take windows of 512"),
        (["{tmp}/switch.onnx", "--framing", "context=64"], 2, "the hop is missing"),
        (["{tmp}/switch.onnx", "--framing", "hop=1,hops=2"], 2, "none of hop=N, context=N, rate=N"),
        (["{tmp}/switch.onnx", "--constant", "sr=fast"], 2, "give a number"),
        (["{tmp}/switch.onnx", "--constant", "sr=0.5"], 2, "takes whole numbers"),
        (["{tmp}/hidden.onnx"], 2, "the input sr int64[] has no value"),
        (["{tmp}/switch.onnx", "--constant", "sr=@{tmp}/text.onnx"], 2, "give a number, a JSON array or @FILE.npy"),
        (
            ["{tmp}/switch.onnx", "--constant", "sr=8000", "--output", "memory_out"],
            2,
            "it is the next value of the state 'memory_in'",
        ),
        (["{tmp}/words.onnx"], 1, "'x' is of type string: a step graph takes and gives plain numbers"),
        (["{tmp}/astray.onnx"], 1, "the weight 'R' holds NaN: its training went astray"),
    ],
)
def test_import_when_it_cannot_ends_with_one_line(
    arguments: list[str], status: int, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text.onnx").write_text("not protobuf")
    by_hand(tmp_path / "switch.onnx", lambda: switch_with_state(hidden=False))
    by_hand(tmp_path / "hidden.onnx", lambda: switch_with_state(hidden=True))
    by_hand(tmp_path / "words.onnx", words)
    by_hand(tmp_path / "astray.onnx", lstm_astray)
    given = [argument.format(tmp=tmp_path) for argument in arguments]
    assert run(["import", *given, "-o", str(tmp_path / "b")]) == status
    shown = capsys.readouterr()
    assert told in shown.err
    assert shown.err.count("\n") == 1
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(("name", "status"), [("torch", 0), ("onnx", 1)])
def test_import_needs_onnx_and_not_torch(name: str, status: int, tmp_path: Path) -> None:
    path = by_hand(tmp_path / "m.onnx", scan_leaky)
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT.format(name=name), "import", str(path), "-o", str(tmp_path / "b")],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == status, done
    if status:
        assert "pip install 'edge-rnn[import]'" in done.stderr
        assert done.stderr.count("\n") == 1
