"""A plain loop over an ONNX file, written as its users write it: the oracle of every import."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime

from edge_rnn.contract.framing import parse_framing
from edge_rnn.contract.stepgraph import first_states, open_step_graph
from exporters.foreign.asked import Asked, parse_axes, parse_constants, parse_pairs
from exporters.foreign.importer import Imported, import_bundle
from tests.exporters.foreign.packages import File

STREAMS, STEPS = 5, 40


def import_file(path: Path, file: File, bundle: Path) -> Imported:
    """Import a file of a package with what it is to be given."""
    framing = parse_framing(file.framing) if file.framing else None
    asked = Asked(states=parse_pairs(file.states), constants=parse_constants(file.constants), framing=framing)
    return import_bundle(path, bundle, asked, name="imported")


def import_graph(path: Path, bundle: Path, **flags: object) -> Imported:
    """Import a file with flags as the command line takes them."""
    asked = Asked(
        states=parse_pairs(flags.pop("states", [])),  # type: ignore[arg-type]
        axes=parse_axes(flags.pop("axes", [])),  # type: ignore[arg-type]
        constants=parse_constants(flags.pop("constants", [])),  # type: ignore[arg-type]
        output=flags.pop("output", None),  # type: ignore[arg-type]
        framing=parse_framing(str(flags.pop("framing"))) if "framing" in flags else None,
    )
    return import_bundle(path, bundle, asked, name="imported", **flags)  # type: ignore[arg-type]


def open_plain(path: Path) -> onnxruntime.InferenceSession:
    """The file as it is, on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def noise(steps: int, streams: int, row: tuple[int, ...], seed: int = 7) -> np.ndarray:
    """Rows ``[time, batch, *row]`` of noise that swells and fades."""
    rng = np.random.default_rng(seed)
    swell = 0.02 + 0.5 * np.abs(np.sin(np.arange(steps) / 6.0))[:, None, None]
    value = rng.standard_normal((steps, streams, int(np.prod(row)))) * swell
    return value.reshape(steps, streams, *row).astype(np.float32)


def plain_loop(path: Path, imported: Imported, rows: np.ndarray) -> np.ndarray:
    """One stream after the other, one step a call, the states handed back: main outputs ``[stream, time, numbers]``."""
    session = open_plain(path)
    manifest, layout = imported.bundle.manifest, imported.reading.layout
    (spec,) = manifest.inputs
    declared = {node.name: node for node in session.get_inputs()}
    constants = {c.name: np.asarray(c.value, c.dtype) for c in manifest.constants}
    kept = []
    for stream in range(rows.shape[1]):
        states = {}
        for state in manifest.states:
            shape = [dim if isinstance(dim, int) else 1 for dim in declared[state.input].shape]
            fixed = [dim for dim in state.shape if dim != "batch"]
            states[state.input] = np.zeros(shape if len(shape) == len(fixed) + 1 else fixed, np.float32)
        outputs = []
        for row in rows[:, stream]:
            roles = layout.inputs[spec.name]
            x = row.reshape([role if isinstance(role, int) else 1 for role in roles])
            wanted = [manifest.outputs[0].name, *(state.output for state in manifest.states)]
            y, *new = session.run(wanted, {spec.name: x, **states, **constants})
            states = {state.input: value for state, value in zip(manifest.states, new, strict=True)}
            outputs.append(np.asarray(y).reshape(-1))
        kept.append(np.stack(outputs))
    return np.stack(kept)


def bundle_run(imported: Imported, rows: np.ndarray) -> np.ndarray:
    """The bundle, all streams in one batch and, where it may, in chunks: ``[stream, time, numbers]``."""
    step = open_step_graph(imported.bundle)
    states = first_states(imported.bundle, rows.shape[1])
    size = 8 if imported.bundle.manifest.has_time else 1
    parts = []
    for start in range(0, rows.shape[0], size):
        outputs, states = step([rows[start : start + size]], states)
        parts.append(outputs[0])
    whole = np.concatenate(parts)
    return np.moveaxis(whole.reshape(*whole.shape[:2], -1), 0, 1)


def same_bits(path: Path, imported: Imported) -> bool:
    """Whether the bundle gives the bits of the plain loop."""
    rows = noise(STEPS, STREAMS, imported.bundle.manifest.inputs[0].row_shape)
    return plain_loop(path, imported, rows).tobytes() == np.ascontiguousarray(bundle_run(imported, rows)).tobytes()
