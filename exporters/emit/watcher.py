"""The `Watcher`: a forecast kept from step to step, and its error as logits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edge_rnn.contract.errors import ExportRefused
from edge_rnn.models.watcher import NEXT, Watcher
from exporters.emit.registry import Emission, Value, emit, emits


@emits(Watcher)
def emit_watcher(emission: Emission, module: Watcher, path: str, value: Value) -> Value:
    """Scaler, layers, head; the forecasts of a call move on by one step, the last one into the state."""
    if path or module.scaler is None:
        raise ExportRefused("a Watcher is exported by itself, not inside another module; export it alone")
    if not module.calibrated:
        raise ExportRefused("the Watcher has no threshold yet; call its calibrate with normal data first")
    graph = emission.graph
    width = module.head.out_features
    scaled = emit(emission, module.scaler, "scaler", value)
    sequence = scaled
    for index, layer in enumerate(module.layers):
        sequence = emit(emission, layer, f"rnn.{index}", sequence)
    forecast = emit(emission, module.head, "head", sequence)
    before = emission.state(NEXT, width, module, lambda returned: returned[1][NEXT])

    def number(what: str, value: int) -> str:
        return graph.constant(np.asarray([value], np.int64), f"watch.{what}")

    def scalar(what: str, value: float) -> str:
        return graph.constant(np.asarray(value, np.float32), f"watch.{what}")

    every = graph.op("Concat", [before, forecast.name], hint="watch", axis=0)
    first, last, end = number("first", 0), number("last", -1), number("end", np.iinfo(np.int64).max)
    expected = graph.op("Slice", [every, first, last, first], hint="watch")
    emission.next_state(NEXT, graph.op("Slice", [every, last, end, first], hint="watch"))
    off = graph.op("Sub", [scaled.name, expected], hint="watch")
    mean = graph.op("ReduceMean", [graph.op("Mul", [off, off], hint="watch")], hint="watch", axes=[-1], keepdims=1)
    error = graph.op(
        "Div", [graph.op("Sqrt", [mean], hint="watch"), scalar("spread", float(module.spread))], hint="watch"
    )
    score = graph.op("Sub", [error, scalar("threshold", float(module.threshold))], hint="watch")
    zero = graph.op("Mul", [score, scalar("zero", 0.0)], hint="watch")
    logits = graph.op("Concat", [zero, score], hint="watch", axis=-1)
    return replace(value, name=logits, shape=(*value.shape[:2], 2))
