"""The import: an ONNX file in, a verified bundle out, or nothing.

0. hear      a front end is put before the input, where one is asked for
1. bind      constants; branches that they choose are taken where a state hides behind one
2. cut       recurrent states that are not exposed get a pair
3. pair      states given or proposed, each proposal run
4. lay out   time, batch and feature axes, by running
5. record    the file itself in a plain loop: one stream, one step; or whole, where its state was cut
6. gates     the step graph must give the same: alone, in a batch, however time is split
7. write     the bundle, whole or not at all
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from edge_rnn.contract.bundle import GOLDEN, GRAPH, INITIAL, Bundle, write_bundle
from edge_rnn.contract.gates import TOLERANCE
from edge_rnn.contract.golden import GOLDEN_STEPS, encode_arrays, encode_golden
from edge_rnn.contract.stepgraph import StepGraph
from edge_rnn.contract.trial import Record, Subject, run_chunks
from exporters.foreign.asked import Asked
from exporters.foreign.loop import run_plain, run_whole, sample_inputs
from exporters.foreign.manifest import manifest_of
from exporters.foreign.model import ForeignModel, open_model
from exporters.foreign.reading import Reading, read_model
from exporters.foreign.trying import Trying
from exporters.frontends.nodes import with_front_end
from exporters.naming import check_name, check_tolerance
from exporters.proof import BATCH, MARKS, Progress, prove_graph

STATELESS_STEPS = 40
"""Steps of the trial of a graph without state: one step tells as much as another."""


@dataclass(frozen=True)
class Imported:
    """A bundle, and how its file was read."""

    bundle: Bundle
    reading: Reading


def import_bundle(
    path: Path,
    output: Path | str,
    asked: Asked,
    *,
    name: str | None = None,
    tolerance: float = TOLERANCE,
    told: Callable[[Reading], None] | None = None,
    progress: Progress | None = None,
) -> Imported:
    """Import an ONNX file as the bundle ``output``; see the protocol above.

    ``told`` gets what was found before it is proved, ``progress`` each gate's figure. Raises
    `UsageError` where something must be said, `ExportRefused` where the graph cannot be a step
    graph and `GateFailed` where it is not the file; in each case nothing is written.
    """
    check_tolerance(tolerance)
    name = check_name(name or path.stem.replace(" ", "-"))
    original = open_model(path)
    if asked.front_end is not None:
        others = frozenset({*asked.states, *asked.constants})
        original = ForeignModel(with_front_end(original.proto, asked.front_end, others), original.name)
    reading = read_model(original, asked)
    if told is not None:
        told(reading)
    graph = reading.graph()
    manifest, arrays = manifest_of(reading, name, opset=original.opset, source=path.name)
    step = StepGraph(manifest, graph, constants=arrays)
    initial = [reading.first_state(pair) for pair in reading.wiring.pairs]
    subject = Subject.of(manifest, step, initial)
    trying = Trying(reading.model.session(), reading.wiring, reading.layout)
    steps = GOLDEN_STEPS if reading.wiring.pairs else STATELESS_STEPS
    inputs = sample_inputs(trying, steps, BATCH, asked.framing)
    expected = _recorded(reading, subject, inputs)
    explain = partial(_explain, reading)
    golden, report = prove_graph(subject, inputs, expected, tolerance=tolerance, progress=progress, explain=explain)
    manifest, _ = manifest_of(reading, name, opset=original.opset, source=path.name, gates=report)
    files = {GRAPH: graph, GOLDEN: encode_golden(manifest, golden)}
    kept = {**{k: reading.cut.initial[k] for k in sorted(reading.cut.initial)}, **arrays}
    if kept:
        files[INITIAL] = encode_arrays(kept)
    return Imported(write_bundle(output, manifest, files), reading)


def _recorded(reading: Reading, subject: Subject, inputs: list[np.ndarray]) -> Record:
    """What the file itself gives. States that it does not show are the graph's own: they have no other witness."""
    trying = Trying(reading.original.session(), reading.original_wiring, reading.layout)
    marks = _marks(inputs)
    if not reading.cut.pairs:
        return run_plain(trying, reading.original_wiring, inputs, marks)
    outputs = run_whole(trying, reading.original_wiring, inputs)
    own = run_chunks(subject, inputs, [1] * inputs[0].shape[0])
    return Record(outputs, {mark: own.states[mark] for mark in marks})


def _marks(inputs: list[np.ndarray]) -> list[int]:
    steps = inputs[0].shape[0]
    return sorted({*(mark for mark in MARKS if mark < steps), steps})


def _explain(reading: Reading, told: str, parity: bool) -> str:
    """Which file, where it was cut, and which node or flag to look at."""
    cut = f" (its state was cut at {', '.join(reading.cut.nodes)})" if reading.cut.nodes else ""
    blamed = reading.blame() if parity or reading.cut.nodes else None
    remedy = blamed or "are the state pairs right? give them by --state IN=OUT"
    return f"{reading.original.name}{cut}: {told.partition('; ')[0]}; {remedy}"
