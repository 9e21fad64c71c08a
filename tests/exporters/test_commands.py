"""The commands export, verify and inspect as a person and a script meet them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from edge_rnn.cli.main import run
from edge_rnn.contract.bundle import GOLDEN, GRAPH, open_bundle, write_bundle
from edge_rnn.contract.signature import Manifest
from edge_rnn.models import save
from tests.exporters import user_modules as user
from tests.exporters.models import Case
from tests.exporters.zoo import loops

ALONE = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "onnx", "onnxscript", "safetensors"):
            raise ImportError(f"{name} must not be imported")

sys.meta_path.insert(0, Refuse())
from edge_rnn.cli.main import run
sys.exit(run(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("commands")
    save(folder / "run", Case("lstm", 2, "classification").make(), recipe="activity")
    assert run(["export", str(folder / "run"), "-o", str(folder / "activity"), "--name", "activity"]) == 0
    return folder / "activity"


def alone(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command in a process where torch and onnx cannot be imported."""
    return subprocess.run(
        [sys.executable, "-c", ALONE, *arguments], capture_output=True, text=True, timeout=120, check=False
    )


def test_export_shows_the_figures_and_writes_a_bundle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = f"{user.__file__}:Tagger"
    assert run(["export", source, "-o", str(tmp_path / "b"), "--input", "x:float32:batch,time,5"]) == 0
    shown = capsys.readouterr().out
    for gate in ("parity", "isolation", "chunking"):
        assert f"\n{gate} " in shown
    assert "passed (256 steps of 8 streams)" in shown
    assert open_bundle(tmp_path / "b").manifest.name == "tagger"


def test_export_of_a_mean_over_time_says_what_it_gives_instead(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["export", f"{user.__file__}:MeanOverTime", "-o", str(tmp_path / "b")]) == 0
    assert "note: the output 'y' is the mean over the steps so far, given at every step" in capsys.readouterr().err


def test_export_of_a_forward_of_one_step_takes_its_state_from_the_call(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ["export", f"{loops.__file__}:OneStep", "-o", str(tmp_path / "b"), "--input", "x:float32:batch,5"]
    assert run([*call, "--state", "h=1"]) == 0
    manifest = open_bundle(tmp_path / "b").manifest
    assert [state.name for state in manifest.states] == ["onestep.h"]
    assert manifest.inputs[0].axes == ("time", "batch", "feature")
    capsys.readouterr()
    assert run([*call, "--state", "h"]) == 2
    assert "expected ARG=INDEX" in capsys.readouterr().err


def test_export_as_json_is_one_object(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["export", f"{user.__file__}:made", "-o", str(tmp_path / "b"), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["digest"] == open_bundle(tmp_path / "b").digest
    assert result["gates"]["parity"]["max_abs_error"] <= result["gates"]["parity"]["bound"]


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (["nowhere"], 2, "there is no run 'nowhere'"),
        ([f"{user.__file__}:Tagger", "--input", "x:float32"], 2, "give NAME:DTYPE:AXES"),
        ([f"{user.__file__}:Tagger", "--name", "no spaces"], 2, "cannot name a bundle"),
        ([f"{user.__file__}:Bidirectional"], 1, "is bidirectional"),
    ],
)
def test_export_when_it_cannot_ends_with_one_line(
    arguments: list[str], status: int, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["export", *arguments, "-o", str(tmp_path / "b")]) == status
    shown = capsys.readouterr()
    assert told in shown.err
    assert shown.err.count("\n") == 1
    assert not (tmp_path / "b").exists()


def test_export_without_torch_says_what_to_install(tmp_path: Path) -> None:
    code = ALONE.replace("raise ImportError(", "raise ModuleNotFoundError(").replace(
        'must not be imported")', 'is away", name=name)'
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "export", "x", "-o", str(tmp_path / "b")],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert "pip install 'edge-rnn[train]'" in done.stderr
    assert done.stderr.count("\n") == 1


def test_verify_without_torch_and_onnx_passes(bundle: Path) -> None:
    done = alone("verify", str(bundle))
    assert (done.returncode, done.stderr) == (0, "")
    for gate in ("parity", "isolation", "chunking", "parity in chunks", "bit stability"):
        assert f"\n{gate} " in done.stdout
    assert "FAILED" not in done.stdout


def test_verify_as_json_gives_every_figure(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["verify", str(bundle), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["verdict"] == "passed"
    assert set(result["gates"]) == {"parity", "isolation", "chunking", "bit_stability", "tolerance"}


def test_verify_when_the_graph_is_another_models_fails_and_says_where(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path / "run", Case("lstm", 2, "classification").make(seed=1))
    assert run(["export", str(tmp_path / "run"), "-o", str(tmp_path / "other")]) == 0
    files = {GRAPH: (tmp_path / "other" / GRAPH).read_bytes(), GOLDEN: (bundle / GOLDEN).read_bytes()}
    write_bundle(tmp_path / "mixed", open_bundle(bundle).manifest, files)
    capsys.readouterr()
    assert run(["verify", str(tmp_path / "mixed")]) == 1
    shown = capsys.readouterr()
    assert "parity                                  FAILED" in shown.out
    assert "parity: output 'y' at step 1 of 256 (stream 0) is off by" in shown.err
    assert run(["verify", str(tmp_path / "mixed"), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["verdict"] == "failed"


def test_verify_when_a_file_is_altered_names_it(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copied = write_bundle(
        tmp_path / "b", open_bundle(bundle).manifest, {name: (bundle / name).read_bytes() for name in (GRAPH, GOLDEN)}
    )
    copied.graph_path.write_bytes(copied.graph_path.read_bytes() + b"\0")
    assert run(["verify", str(copied.path)]) == 1
    assert "step.onnx was altered" in capsys.readouterr().err


def test_inspect_without_torch_and_onnx_shows_what_a_person_asks(bundle: Path) -> None:
    done = alone("inspect", str(bundle))
    assert (done.returncode, done.stderr) == (0, "")
    for told in ("activity", "[time, batch, 5]", "features: ax, ay", "logits; labels: rest", "rnn.1.c.next", "gates"):
        assert told in done.stdout
    assert max(len(line) for line in done.stdout.splitlines()) < 140


def test_inspect_as_json_holds_the_manifest(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["inspect", str(bundle), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert msgspec.convert(result["manifest"], Manifest) == open_bundle(bundle).manifest
    assert result["state_bytes"] == 4 * 13 * 4


@pytest.mark.parametrize("name", ["export", "verify", "inspect"])
def test_help_opens_with_the_purpose_and_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([name, "--help"]) == 0
    assert f"Example: edge-rnn {name}" in capsys.readouterr().out
