"""The wheel, built and installed in an empty environment without the train extra, runs a bundle there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from edge_rnn.contract.bundle import Bundle
from tests.models_for_tests import make_bundle

ROOT = Path(__file__).parents[2]
UV = Path(sys.executable).with_name("uv")


def run(*command: str | Path, cwd: Path | None = None) -> str:
    environment = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH")}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a clean copy without what git ignores, so that nothing left in the tree gets in."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for name in run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT).split("\0"):
        if name and (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    run(UV, "build", "--quiet", "--wheel", "--out-dir", folder, source)
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment that holds the wheel with the extra [cpu] and nothing else."""
    folder = tmp_path_factory.mktemp("empty") / "venv"
    run(UV, "venv", "--quiet", "--python", sys.executable, folder)
    run(UV, "pip", "install", "--quiet", "--python", folder / "bin/python", f"{wheel}[cpu]")
    return folder / "bin/python"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("bundles") / "gru", "gru", features=("ax", "ay", "az"))


def test_wheel_holds_the_four_packages_and_no_tests(wheel):
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {"edge_rnn", "exporters", "runtime", "deploy"} <= tops
    assert not [
        top for top in tops if top not in {"edge_rnn", "exporters", "runtime", "deploy"} and "dist-info" not in top
    ]


def test_wheel_in_an_empty_environment_runs_a_bundle(python, bundle, tmp_path):
    names = run(UV, "pip", "list", "--python", python, "--format", "json")
    assert not {"torch", "onnx"} & {package["name"] for package in json.loads(names)}
    command = python.with_name("edge-rnn")
    rows = tmp_path / "rows.csv"
    rows.write_text("key,ax,ay,az\n" + "".join(f"s{i % 3},{i},{i * 2},{-i}\n" for i in range(30)))
    store = f"sqlite:{tmp_path}/store.sqlite"
    run(command, "verify", bundle.path, cwd=tmp_path)
    run(command, "replay", bundle.path, rows, "-o", "replayed.jsonl", cwd=tmp_path)
    run(command, "produce", rows, "--topic", "in", "--broker", store, "--create-topics", cwd=tmp_path)
    daemon = subprocess.Popen(
        [
            *(str(command), "run", str(bundle.path), "--input", "in", "--output", "out", "--broker", store),
            *("--create-topics", "--state-dir", str(tmp_path / "state")),
        ],
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    )
    try:
        reader = (
            "import sys, time, runtime.transports.connect as c\n"
            f"b = c.open_broker({store!r})\n"
            "end = time.monotonic() + 30\n"
            "while b.partitions('out') is None or len(b.read('out')) < 30:\n"
            "    assert time.monotonic() < end\n"
            "    time.sleep(0.05)\n"
            "batch = b.read('out')\n"
            "for key, value in zip(batch.keys, batch.values): print(key.decode(), value.decode())\n"
        )
        lines = run(python, "-c", reader, cwd=tmp_path).splitlines()
    finally:
        daemon.terminate()
        _, log = daemon.communicate(timeout=30)
    assert daemon.returncode == 0, log
    streamed: dict[str, list[str]] = {}
    for line in lines:
        key, _, value = line.partition(" ")
        streamed.setdefault(key, []).append(value)
    replayed: dict[str, list[str]] = {}
    for line in (tmp_path / "replayed.jsonl").read_text().splitlines():
        key = json.loads(line)["key"]
        replayed.setdefault(key, []).append("{" + line.removeprefix(f'{{"key":"{key}",'))
    assert streamed == replayed


@pytest.mark.parametrize(("command", "extra"), [("train", "train"), ("export", "train"), ("demo", "recipes")])
def test_command_whose_extra_is_missing_names_it_in_one_line(python, command, extra, tmp_path):
    arguments = {"train": ["activity", "-o", "run"], "export": ["model.py:Net", "-o", "b"], "demo": []}[command]
    (tmp_path / "model.py").write_text("")
    done = subprocess.run(
        [str(python.with_name("edge-rnn")), command, *arguments],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 1, done
    assert extra in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
