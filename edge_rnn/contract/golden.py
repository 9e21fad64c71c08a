"""Golden vectors: a run of the original module, kept in the bundle so that any device can repeat it.

``golden.npz`` holds, under names of the manifest:

==================  ==========================================================================
``input:NAME``      ``[time, batch, *row]``, two streams
``output:NAME``     ``[time, batch, *row]``, what the module gave
``state:NAME``      ``[mark, batch, *row]``, the module's state after each of ``steps``
``steps``           ``int64[mark]``, numbers of steps; the last is the whole run
==================  ==========================================================================
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edge_rnn.contract.bundle import Bundle
from edge_rnn.contract.errors import BundleError
from edge_rnn.contract.signature import Manifest
from edge_rnn.contract.stepgraph import Arrays
from edge_rnn.contract.trial import Record

GOLDEN_STEPS = 256
GOLDEN_STREAMS = 2


@dataclass(frozen=True)
class Golden:
    """Inputs ``[time, batch, *row]`` in manifest order, and what the module made of them from fresh states."""

    inputs: Arrays
    record: Record


def encode_golden(manifest: Manifest, golden: Golden) -> bytes:
    """The contents of ``golden.npz``; the same bytes for the same values."""
    marks = sorted(golden.record.states)
    arrays: dict[str, np.ndarray] = {"steps": np.asarray(marks, np.int64)}
    for spec, value in zip(manifest.inputs, golden.inputs, strict=True):
        arrays[f"input:{spec.name}"] = value
    for out, value in zip(manifest.outputs, golden.record.outputs, strict=True):
        arrays[f"output:{out.name}"] = value
    for index, state in enumerate(manifest.states):
        arrays[f"state:{state.name}"] = np.stack([golden.record.states[mark][index] for mark in marks])
    return encode_arrays(arrays)


def encode_arrays(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Named arrays as the contents of an ``.npz`` file; the same bytes for the same values."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, value in arrays.items():
            entry = io.BytesIO()
            np.lib.format.write_array(entry, np.ascontiguousarray(value), allow_pickle=False)  # type: ignore[no-untyped-call, unused-ignore]  # typed from NumPy 2.4 on
            info = zipfile.ZipInfo(f"{name}.npy")  # dated 1980: no time of writing in the bytes
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, entry.getvalue())
    return buffer.getvalue()


def load_golden(bundle: Bundle) -> Golden:
    """Read the golden vectors of a bundle. Raises `BundleError` naming the array that is missing or misshapen."""
    manifest, where = bundle.manifest, bundle.golden_path
    try:
        with np.load(where, allow_pickle=False) as archive:
            arrays: dict[str, np.ndarray] = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise BundleError(f"{where} cannot be read: {error}; export the bundle again") from error

    def take(name: str, dtype: str, shape: Sequence[int]) -> np.ndarray:
        value = arrays.get(name)
        if value is None or value.shape != tuple(shape) or value.dtype != np.dtype(dtype):
            found = "nothing" if value is None else f"{value.dtype}{list(value.shape)}"
            raise BundleError(
                f"{where}: the array {name!r} is {found}, expected {dtype}{list(shape)}; export the bundle again"
            )
        return value

    first = arrays.get(f"input:{manifest.inputs[0].name}")
    steps = arrays.get("steps")
    if first is None or first.ndim < 2 or 0 in first.shape[:2] or steps is None or steps.ndim != 1 or not len(steps):
        raise BundleError(f"{where} holds no recorded run; export the bundle again")
    size = first.shape[:2]
    marks = [int(mark) for mark in steps]
    if marks != sorted(set(marks)) or marks[0] < 1 or marks[-1] != size[0]:
        raise BundleError(f"{where} has states after {marks} of {size[0]} steps; export the bundle again")
    inputs = [take(f"input:{spec.name}", spec.dtype, (*size, *spec.row_shape)) for spec in manifest.inputs]
    outputs = [take(f"output:{spec.name}", spec.dtype, (*size, *spec.row_shape)) for spec in manifest.outputs]
    states = [
        take(f"state:{spec.name}", spec.dtype, (len(marks), size[1], *spec.row_shape)) for spec in manifest.states
    ]
    return Golden(inputs, Record(outputs, {mark: [value[i] for value in states] for i, mark in enumerate(marks)}))
