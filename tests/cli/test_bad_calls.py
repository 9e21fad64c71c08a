"""Bad calls get one helpful line and the right status; never a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edge_rnn.cli.main import COMMANDS
from edge_rnn.contract.bundle import Bundle
from runtime.transports.connect import open_broker
from tests.models_for_tests import make_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("cli") / "lstm", features=("ax", "ay", "az"))


def call(*arguments: str, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "edge_rnn.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=cwd,
        env={**os.environ, **environment},
    )


def fails(done: subprocess.CompletedProcess[str], status: int, *words: str) -> None:
    """One line on standard error that holds these words."""
    lines = [line for line in done.stderr.splitlines() if line.startswith("edge-rnn: ")]
    assert done.returncode == status, done
    assert len(lines) == 1, done
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in lines[0], lines[0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["walk"], ["walk"]),
        (["run"], ["bundle"]),
        (["run", "{bundle}"], ["--input is missing", "EDGE_RNN_INPUT"]),
        (["run", "{bundle}", "--input", "a", "--output", "a", "--broker", "sqlite:{tmp}/s"], ["a", "input"]),
        (["run", "{bundle}", "--input", "a", "--output", "b", "--codec", "xml"], ["codec", "json"]),
        (
            ["run", "{bundle}", "--input", "a", "--output", "b", "--commit-interval", "5"],
            ["--commit-interval", "100ms"],
        ),
        (["run", "{bundle}", "--input", "a", "--output", "b", "--max-chunk", "3"], ["--max-chunk", "power of two"]),
        (["run", "{bundle}", "--input", "a", "--output", "b", "--max-records", "0"], ["--max-records"]),
        (["run", "{bundle}", "--input", "a", "--output", "b", "--config", "{tmp}/none.toml"], ["none.toml"]),
        (["run", "{bundle}", "--input", "a", "--output", "b", "--wrong"], ["--wrong"]),
        (["replay", "{bundle}", "{tmp}/rows.txt", "-o", "{tmp}/out"], [".txt", ".csv"]),
        (["replay", "{bundle}", "{tmp}/none.csv", "-o", "{tmp}/out"], ["none.csv", "does not exist"]),
        (["replay", "{bundle}", "{tmp}/none.wav", "-o", "{tmp}/out"], ["none.wav", "does not exist", ".wav, .pcm"]),
        (["replay", "{bundle}", "{bundle}", "-o", "{tmp}/out"], ["is not a file", ".csv", ".wav"]),
        (["replay", "{bundle}", "{bundle}/step.onnx", "-o", "{tmp}/out"], ["'.onnx'", ".csv", ".wav"]),
        (["replay", "{bundle}", "{tmp}/a.wav", "-o", "{tmp}/out"], ["a.wav holds sound", "--framing hop="]),
        (["produce", "{tmp}/none.csv", "--topic", "t", "--broker", "sqlite:{tmp}/s"], ["none.csv"]),
        (
            ["produce", "{tmp}/a.wav", "--topic", "t", "--broker", "sqlite:{tmp}/s"],
            ["a.wav holds sound", "give --codec pcm16"],
        ),
        (["train", "nothing", "-o", "{tmp}/run"], ["nothing", "activity", "weather"]),
        (["export", "{tmp}/none", "-o", "{tmp}/b"], ["none"]),
        (["state", "list"], ["--group is missing", "EDGE_RNN_GROUP"]),
        (["state", "walk"], ["walk", "state --help"]),
        (["state", "list", "--group", "g", "--client", "java"], ["--client", "kafka-python or confluent"]),
        (["state", "show", "xyz", "--hex", "--group", "g"], ["'xyz'", "hexadecimal"]),
        (["state", "drop", "--group", "g"], ["KEY", "--all", "--fingerprint"]),
        (["state", "drop", "a", "--all", "--group", "g"], ["KEY", "--all", "--fingerprint"]),
        (["state", "drop", "--fingerprint", "12", "--group", "g"], ["--fingerprint", "16 hexadecimal"]),
        (["state", "drop", "a", "--wait", "5", "--group", "g"], ["--wait", "5m"]),
    ],
)
def test_call_that_is_wrong_ends_with_status_2_and_one_line(arguments, words, bundle, tmp_path):
    for name in ("rows.txt", "a.wav"):
        (tmp_path / name).write_bytes(b"")
    done = call(*(a.format(bundle=bundle.path, tmp=tmp_path) for a in arguments), cwd=tmp_path)
    fails(done, 2, *words)


@pytest.mark.parametrize("command", ["run", "verify", "inspect", "replay"])
def test_bundle_that_is_missing_ends_with_status_1_and_names_it(command, tmp_path):
    more = {"run": ["--input", "a", "--output", "b"], "replay": ["rows.csv", "-o", "out"]}.get(command, [])
    fails(call(command, "nowhere.bundle", *more, cwd=tmp_path), 1, "nowhere.bundle", "does not exist")


def test_bundle_that_was_altered_is_refused(bundle, tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in bundle.path.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    data = bytearray((copy / "step.onnx").read_bytes())
    data[-1] ^= 1
    (copy / "step.onnx").write_bytes(data)
    fails(call("run", str(copy), "--input", "a", "--output", "b"), 1, "step.onnx", "altered")


@pytest.mark.parametrize("client", ["kafka-python", "confluent"])
def test_broker_that_does_not_answer_is_said_within_the_startup_timeout(client, bundle, tmp_path):
    began = time.monotonic()
    done = call(
        *("run", str(bundle.path), "--input", "a", "--output", "b", "--broker", "127.0.0.1:9", "--client", client),
        *("--startup-timeout", "3s", "--state-dir", str(tmp_path)),
    )
    fails(done, 1, "127.0.0.1:9")
    assert time.monotonic() - began < 15


def test_topic_that_is_missing_is_said_with_the_remedy(bundle, tmp_path):
    open_broker(f"sqlite:{tmp_path}/store").create_topic("other", 1)
    done = call(
        *("run", str(bundle.path), "--input", "a", "--output", "b", "--broker", f"sqlite:{tmp_path}/store"),
        *("--state-dir", str(tmp_path)),
    )
    fails(done, 1, "'a'", "--create-topics")


def test_group_that_never_ran_is_named_with_the_topic_that_is_missing(tmp_path):
    open_broker(f"sqlite:{tmp_path}/store").create_topic("other", 1)
    fails(call("state", "list", "--group", "g", "--broker", f"sqlite:{tmp_path}/store"), 1, "'g-state'", "'g'")


def test_store_that_is_not_there_is_not_made_by_looking(tmp_path):
    fails(call("state", "list", "--group", "g", "--broker", f"sqlite:{tmp_path}/store"), 1, "store")
    assert list(tmp_path.iterdir()) == []


def test_setting_from_the_environment_gives_way_to_the_flag(bundle, tmp_path):
    done = call(
        "run", str(bundle.path), "--output", "b", "--max-chunk", "3", EDGE_RNN_INPUT="a", EDGE_RNN_MAX_CHUNK="5"
    )
    fails(done, 2, "--max-chunk is 3")


def test_configuration_file_with_an_unknown_name_is_refused_with_the_known_ones(bundle, tmp_path):
    file = tmp_path / "run.toml"
    file.write_text('input = "a"\noutput = "b"\ncomit-interval = "1s"\n')
    fails(call("run", str(bundle.path), "--config", str(file)), 2, "comit-interval", "commit-interval")


def test_package_of_ours_that_is_shadowed_is_named(tmp_path):
    (tmp_path / "runtime.py").write_text("")
    done = call("doctor", cwd=tmp_path, PYTHONPATH=str(tmp_path))
    fails(done, 1, "'runtime'", str(tmp_path))


@pytest.mark.parametrize("command", [[], *[[name] for name in COMMANDS]])
def test_help_opens_with_purpose_and_an_example(command):
    done = call(*command, "--help")
    assert done.returncode == 0
    assert "Example: edge-rnn" in " ".join(done.stdout.split())


def test_version_is_told():
    done = call("--version")
    assert done.returncode == 0
    assert done.stdout.startswith("edge-rnn ")
