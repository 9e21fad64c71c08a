"""Engines that a device builds for itself before its daemon starts, and only once."""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec
import pytest

from edge_rnn.cli.build_engines import main
from edge_rnn.cli.first_start import build_missing
from edge_rnn.contract import tensorrt as library
from edge_rnn.contract.bundle import Bundle
from runtime.engines.tensorrt import find_plans
from tests.models_for_tests import make_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("first") / "gru", "gru")


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> str:
    """A machine with a GPU that the library here can build for."""
    pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT for RTX is not installed (see docs/gpu.md)")
    monkeypatch.setattr(library, "present_gpu", lambda: "sm_89")
    return "sm_89"


def test_engines_that_are_missing_are_built_once(bundle: Bundle, tmp_path: Path, gpu: str) -> None:
    assert build_missing(bundle.path, "auto", tmp_path)
    plans = find_plans(bundle, library.find_library(), gpu, tmp_path)
    assert list(plans) == [1, 2, 4, 8, 16, 32]
    assert not build_missing(bundle.path, "tensorrt", tmp_path)


def test_engines_that_cannot_be_built_are_warned_of(
    bundle: Bundle, tmp_path: Path, gpu: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "present_gpu", lambda: "sm_90")
    assert build_missing(bundle.path, "auto", tmp_path)
    (record,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "sm_75, sm_80, sm_86, sm_89, sm_120, sm_121" in record.getMessage()
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_built_for_the_cpu_or_without_a_gpu_or_for_another_precision(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "present_gpu", lambda: None)
    assert not build_missing(bundle.path, "auto", tmp_path)
    monkeypatch.setattr(library, "present_gpu", lambda: "sm_89")
    monkeypatch.setattr(library, "installed_library", lambda: library.Library(None, "tensorrt", "10.3"))
    assert not build_missing(bundle.path, "cpu", tmp_path)
    manifest = msgspec.structs.replace(bundle.manifest, precision="int8")
    monkeypatch.setattr("edge_rnn.contract.bundle.open_bundle", lambda path: Bundle(bundle.path, manifest))
    assert not build_missing(bundle.path, "auto", tmp_path)


def test_builder_without_a_gpu_or_a_bundle_says_so_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path / "none"), "--gpu", "sm_89"]) == 1
    assert str(tmp_path / "none") in capsys.readouterr().err
