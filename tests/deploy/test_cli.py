"""The commands: what they say when they are called wrongly, and what a device needs of our packages."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from deploy.images.build import BUILT, Build, Built
from deploy.release.push import read_build
from tests.deploy.fleets import APP, HOST_KEY, digest, encode
from tests.models_for_tests import make_bundle


def deploy(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "edge_rnn.cli", "deploy", *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**os.environ, "XDG_STATE_HOME": str(folder / "state"), "COLUMNS": "200"},
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    inventory = (
        APP.format(key=HOST_KEY, broker="127.0.0.1:1")
        + "[[device]]\nname = 'd1'\nssh = {host = '127.0.0.1', port = 1}\n"
    )
    (tmp_path / "fleet.toml").write_text(inventory)
    (tmp_path / "keyed.toml").write_text(inventory.replace("[app.run]", 'key = "release.pub"\n[app.run]'))
    key = tmp_path / "release.key"
    subprocess.run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key], check=True)
    words = ["openssl", "ec", "-in", key, "-pubout", "-out", tmp_path / "release.pub"]
    subprocess.run(words, check=True, capture_output=True)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "release.json").write_bytes(encode("x"))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "release.json").write_bytes(encode("x", app="weather"))
    return tmp_path


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["up", "out", "--fleet", "none.toml"], 2, "the inventory none.toml cannot be read"),
        (["up", "nothing"], 2, "give what edge-rnn deploy push wrote"),
        (["up", "out", "--to", "site=x"], 2, "selects no device"),
        (["up", "out", "--canary", "5 %"], 2, "--canary is '5 %', expected a share"),
        (["up", "other"], 1, "is a release of weather, the fleet runs activity"),
        (["up", "out", "--fleet", "keyed.toml"], 1, "is not signed, but the fleet has a key"),
        (["pending"], 2, "nothing was rolled out from here"),
        (["rollback"], 2, "nothing to roll back to"),
        (["status", "--watch", "5"], 2, "--watch is '5', expected a duration"),
        (["push", "out", "--to", "UPPER/case"], 2, "--to is 'UPPER/case', expected a repository"),
        (["push", "out", "--to", "r.test/edge"], 2, "give what edge-rnn deploy build -o wrote"),
        (["build", "none", "-o", "b"], 1, "none does not exist"),
        (["build", "none", "-o", "b", "--target", "tpu"], 2, "--target is 'tpu'"),
        (["build", "none", "-o", "b", "--arch", "mips"], 2, "--arch is 'mips'"),
        (["render", "nomad", "out"], 2, "render 'nomad' is unknown"),
        (["render", "kubernetes"], 2, "needs a release"),
        (["nothing"], 2, "No such command"),
    ],
)
def test_call_that_is_wrong_ends_with_one_line_that_says_so(folder, words, status, said):
    done = deploy(*words, folder=folder)
    assert (done.returncode, said in done.stderr) == (status, True), done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("edge-rnn: ")]
    assert len(lines) == 1
    assert "Traceback" not in done.stderr


def test_device_that_is_away_is_pending_and_nothing_fails(folder):
    done = deploy("up", "out", folder=folder)
    assert done.returncode == 0, done.stderr
    assert "1 pending" in done.stdout
    listed = deploy("pending", "--list", folder=folder)
    assert listed.stdout.startswith("d1: d1 cannot be reached")
    assert "pending" in deploy("status", folder=folder).stdout


def test_bundle_goes_with_the_images_of_an_earlier_build_that_hold_none(folder, tmp_path_factory):
    bundle = make_bundle(tmp_path_factory.mktemp("bundle") / "second", "gru")
    image = Built(
        target="cpu",
        arch="amd64",
        id=digest("image"),
        tag="t",
        base="b",
        base_digest=digest("base"),
        holds_bundle=False,
        tested=True,
        parts=1,
    )
    first = Build(app="activity", bundle="first", bundle_digest=digest("1"), version="1", revision="r", images=(image,))
    (folder / "first").mkdir()
    (folder / "first" / BUILT).write_bytes(msgspec.json.encode(first))
    done = deploy("build", str(bundle.path), "-o", "second", "--runtime", "first", folder=folder)
    assert done.returncode == 0, done.stderr
    made = read_build(folder / "second")
    assert (made.app, made.images, made.bundle) == ("activity", (image,), str(bundle.path))
    assert made.bundle_digest == f"sha256:{bundle.digest}"
    full = msgspec.structs.replace(first, images=(msgspec.structs.replace(image, holds_bundle=True),))
    (folder / "first" / BUILT).write_bytes(msgspec.json.encode(full))
    done = deploy("build", str(bundle.path), "-o", "third", "--runtime", "first", folder=folder)
    assert done.returncode == 2
    assert "cpu/amd64 hold a bundle; build them with --without-bundle" in done.stderr


def test_manifests_are_printed_and_no_more(folder):
    for kind in ("kubernetes", "compose", "systemd", "grafana", "prometheus"):
        done = deploy("render", kind, "out", folder=folder)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        assert len(done.stdout) > 500


def test_what_runs_on_a_device_needs_nothing_of_the_operators_extra():
    program = (
        "import sys, deploy.device.http, deploy.registry.fetch\n"
        "bad = {'yaml', 'packaging', 'cyclonedx', 'model_signing', 'requests', 'torch', 'onnx'} & set(sys.modules)\n"
        "sys.exit(', '.join(sorted(bad)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
