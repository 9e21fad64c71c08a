from __future__ import annotations

from typing import Any

import msgspec
import pytest

from edge_rnn.contract.errors import BundleError
from edge_rnn.contract.signature import (
    BitStability,
    GateFigure,
    GateReport,
    Manifest,
    check_manifest,
    decode_manifest,
    encode_manifest,
)
from tests.contract.bundles import MANIFEST, SPECIAL

FIGURE = GateFigure(max_abs_error=1.2e-7, bound=1e-6, steps=256, batch=8)
BITS = BitStability(engine="onnxruntime", holds=True, batches=(1, 3), chunks=(1, 7), max_abs_error=0.0)
REPORT = GateReport(parity=FIGURE, isolation=FIGURE, chunking=FIGURE, bit_stability=BITS)


def altered(**changes: Any) -> Manifest:
    return msgspec.structs.replace(MANIFEST, **changes)


def of_input(**changes: Any) -> Manifest:
    return altered(inputs=(msgspec.structs.replace(MANIFEST.inputs[0], **changes),))


def of_state(**changes: Any) -> Manifest:
    return altered(states=(msgspec.structs.replace(MANIFEST.states[0], **changes),))


def test_manifest_encoded_and_decoded_is_the_same() -> None:
    special, constant = SPECIAL
    manifest = altered(states=(*MANIFEST.states, special), constants=(constant,), gates=REPORT, source={"torch": "2"})
    data = encode_manifest(manifest)
    assert decode_manifest(data, "m") == manifest
    assert encode_manifest(decode_manifest(data, "m")) == data


def test_manifest_says_widths_sizes_and_names() -> None:
    special, _ = SPECIAL
    manifest = altered(states=(*MANIFEST.states, special))
    assert (manifest.width, manifest.state_bytes, manifest.has_time) == (3, 3 * 4 + 2 * 4 * 8, True)
    assert manifest.feature_names == ("a", "b", "c")
    assert manifest.states[1].batch_axis == 1
    assert manifest.states[1].row_shape == (2, 4)


@pytest.mark.parametrize(
    ("manifest", "told"),
    [
        (altered(inputs=()), "at least one input and one output"),
        (of_input(axes=("time", "feature")), "expected one role an axis and one batch"),
        (of_input(axes=("time", "feature", "batch")), "expected a number where the axis is fixed"),
        (of_input(features=("a", "b")), "names 2 features, its step has 3"),
        (of_input(dtype="float33"), "expected a NumPy type name"),
        (altered(inputs=MANIFEST.inputs * 2), "the input name 'x' stands twice"),
        (of_state(shape=(1, 3)), "expected exactly one 'batch'"),
        (of_state(shape=("batch", "time")), "expected numbers beside 'batch'"),
        (of_state(input="x"), "the input name 'x' stands twice"),
        (of_state(output="y"), "the output name 'y' stands twice"),
        (altered(graph="other.onnx"), "'other.onnx' is not among the files"),
        (altered(one_step="one.onnx"), "'one.onnx' is not among the files"),
    ],
)
def test_check_manifest_when_something_does_not_fit_names_it(manifest: Manifest, told: str) -> None:
    with pytest.raises(BundleError, match=f"^here: .*{told}.*export the bundle again"):
        check_manifest(manifest, "here")


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"[", "is not a JSON object"),
        (b"{}", "has format None, expected 1"),
        (b'{"format": 2}', "has format 2, expected 1"),
        (b'{"format": 1}', "does not fit the schema: .*missing required field"),
        (encode_manifest(MANIFEST).replace(b'"precision"', b'"prescision"'), "does not fit the schema"),
        (encode_manifest(MANIFEST).replace(b'"opset": 17', b'"opset": "17"'), r"does not fit the schema.*opset"),
    ],
)
def test_decode_manifest_when_it_is_not_one_says_why(data: bytes, told: str) -> None:
    with pytest.raises(BundleError, match=told):
        decode_manifest(data, "manifest.json")
