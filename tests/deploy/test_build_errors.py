"""``deploy build`` where something is missing or does not fit: one line that says what, and what to do."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.containers import BASE, NAME, call

BARE = f"{NAME}/bare:test"
"""A base that holds a file and no Python."""


@pytest.fixture(scope="module")
def bare(containers: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("bare")
    (folder / "hello").write_text("hello\n")
    with tarfile.open(folder / "bare.tar", "w") as archive:
        archive.add(folder / "hello", "hello")
    call("podman", "import", "--quiet", "--os=linux", "--arch=amd64", folder / "bare.tar", BARE)
    yield BARE
    call("podman", "image", "rm", BARE)


@pytest.fixture
def little_space(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of 8 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    call("mount", "-t", "tmpfs", "-o", "size=8m", "none", folder)
    yield folder
    call("umount", folder)


def refused(bundle: Path, folder: Path, *words: str, **environment: str) -> str:
    """The one line that ``deploy build`` says."""
    done = subprocess.run(
        [sys.executable, "-m", "edge_rnn.cli", "deploy", "build", str(bundle), "-o", str(folder / "out"), *words],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
        timeout=200,
    )
    assert done.returncode == 1, done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("edge-rnn: ")
    return lines[0]


def test_without_podman_and_docker_it_says_what_to_install(bundle, tmp_path):
    said = refused(bundle.path, tmp_path, PATH=str(tmp_path))
    assert "neither podman nor docker is installed; install podman 4 or newer" in said
    assert "docker is not installed; install podman" in refused(
        bundle.path, tmp_path, "--engine", "docker", PATH=str(tmp_path)
    )


@pytest.mark.slow
def test_base_that_is_nowhere_is_named_with_the_flag_to_give(containers, bundle, tmp_path):
    said = refused(bundle.path, tmp_path, "--base", "localhost:1/none@sha256:" + "0" * 64)
    assert "the base localhost:1/none@sha256:" in said
    assert "give --base IMAGE" in said


@pytest.mark.slow
def test_base_of_another_architecture_is_refused(containers, bundle, tmp_path):
    said = refused(bundle.path, tmp_path, "--base", f"{BASE}:amd64", "--arch", "arm64")
    assert "is for amd64, expected one for arm64; give --base for each --arch" in said


@pytest.mark.slow
def test_base_without_python_is_refused(bare, bundle, tmp_path):
    assert f"the base {bare} has no /usr/bin/python3.N; give one" in refused(bundle.path, tmp_path, "--base", bare)


@pytest.mark.slow
def test_wheel_for_another_python_or_machine_or_of_no_sense_is_refused(containers, bundle, tmp_path):
    base = ["--base", f"{BASE}:amd64"]
    for name, why in (
        ("onnxruntime-1.31.1-cp312-cp312-manylinux_2_28_x86_64.whl", "is for cp312, the base brings Python 3.11"),
        ("onnxruntime-1.31.1-cp311-cp311-manylinux_2_28_aarch64.whl", "expected x86_64"),
        ("onnxruntime.whl", "is no wheel"),
        ("onnxruntime-1.31.1-cp311-cp311-manylinux_2_28_x86_64.whl", "the packages of the image cannot be had"),
    ):
        wheel = tmp_path / name
        wheel.write_bytes(b"not a zip")
        assert why in refused(bundle.path, tmp_path, *base, "--wheel", str(wheel))


@pytest.mark.slow
def test_disk_that_is_full_is_said_with_a_way_out(containers, bundle, tmp_path, little_space):
    said = refused(bundle.path, tmp_path, "--base", f"{BASE}:amd64", TMPDIR=str(little_space))
    assert "No space left on device" in said
    assert "let TMPDIR name a folder that has more" in said
