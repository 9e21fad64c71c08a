from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from edge_rnn.contract.bundle import GOLDEN, GRAPH, write_bundle
from edge_rnn.contract.errors import BundleError, GateFailed
from edge_rnn.contract.golden import Golden, encode_golden, load_golden
from edge_rnn.contract.trial import Record
from edge_rnn.contract.verification import check_golden, verify_bundle
from tests.contract.bundles import MANIFEST, changed, golden, write
from tests.contract.leaky import leaking_over_streams, leaky


def test_golden_encoded_and_loaded_is_the_same(tmp_path: Path) -> None:
    expected, found = golden(), load_golden(write(tmp_path / "b"))
    assert np.array_equal(found.inputs[0], expected.inputs[0])
    assert np.array_equal(found.record.outputs[0], expected.record.outputs[0])
    assert list(found.record.states) == [1, 2, 256]
    assert all(np.array_equal(found.record.states[mark][0], expected.record.states[mark][0]) for mark in (1, 2, 256))


def test_encode_golden_gives_the_same_bytes() -> None:
    assert encode_golden(MANIFEST, golden()) == encode_golden(MANIFEST, golden())


def test_check_golden_on_any_step_function_gives_its_figure(tmp_path: Path) -> None:
    figure = check_golden(write(tmp_path / "b"), leaky)
    assert (figure.max_abs_error, figure.steps, figure.batch) == (0, 256, 2)


def test_check_golden_when_the_engine_is_less_precise_takes_a_tolerance(tmp_path: Path) -> None:
    def coarse(inputs: list[np.ndarray], states: list[np.ndarray], /) -> object:
        outputs, new = leaky(inputs, states)
        return [outputs[0].astype(np.float16).astype(np.float32)], new

    bundle = write(tmp_path / "b")
    with pytest.raises(GateFailed, match=r"golden vectors: output 'y' at step \d+ of 256"):
        check_golden(bundle, coarse)  # type: ignore[arg-type]
    assert check_golden(bundle, coarse, tolerance=1e-3).max_abs_error > 1e-6  # type: ignore[arg-type]


def test_verify_bundle_on_any_step_function_reports_or_raises(tmp_path: Path) -> None:
    bundle = write(tmp_path / "b")
    report = verify_bundle(bundle, leaky)
    assert report.bit_stability.holds
    assert report.parity.max_abs_error == report.isolation.max_abs_error == report.chunking.max_abs_error == 0
    with pytest.raises(GateFailed):
        verify_bundle(bundle, leaking_over_streams)


def test_verify_bundle_when_golden_was_recorded_from_another_model_fails(tmp_path: Path) -> None:
    good = golden()
    other = Golden(good.inputs, Record([changed(good.record.outputs[0])], good.record.states))
    files = {GRAPH: b"", GOLDEN: encode_golden(MANIFEST, other)}
    with pytest.raises(GateFailed, match=r"parity: output 'y' at step 1 of 256 \(stream 0\) is off by 0\.5"):
        verify_bundle(write_bundle(tmp_path / "b", MANIFEST, files), leaky)


def test_load_golden_when_an_array_does_not_fit_names_it(tmp_path: Path) -> None:
    wide = msgspec.structs.replace(MANIFEST.states[0], shape=("batch", 5))
    manifest = msgspec.structs.replace(MANIFEST, states=(wide,))
    bundle = write_bundle(tmp_path / "b", manifest, {GRAPH: b"", GOLDEN: encode_golden(MANIFEST, golden())})
    with pytest.raises(BundleError, match=r"'state:s' is float32\[3, 2, 3\], expected float32\[3, 2, 5\]"):
        load_golden(bundle)


@pytest.mark.parametrize(("data", "told"), [(b"no zip", "cannot be read"), (b"", "cannot be read")])
def test_load_golden_when_it_is_no_archive_says_so(tmp_path: Path, data: bytes, told: str) -> None:
    bundle = write_bundle(tmp_path / "b", MANIFEST, {GRAPH: b"", GOLDEN: data})
    with pytest.raises(BundleError, match=told):
        load_golden(bundle)
