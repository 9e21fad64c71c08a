"""A small demo's result made up: two streams of three steps, one kill, all exact."""

from __future__ import annotations

from dataclasses import replace

from edge_rnn.contract.signature import BitStability, GateFigure, GateReport
from edge_rnn.demo.compare import Verdict
from edge_rnn.demo.predictions import collect_predictions
from edge_rnn.demo.records import OutputValue, Seen, Sent
from edge_rnn.demo.result import Made, Result, Served
from edge_rnn.demo.settings import Place
from edge_rnn.demo.timeline import Moments, recover

KEYS = ("watch-00", "watch-<1>")
LABELS = ("standing", "running")


def made_up_value(label: str) -> OutputValue:
    score = 0.9 if label == "standing" else 0.1
    return OutputValue(output=[[score, 1 - score]], label=label, scores={"standing": score, "running": 1 - score})


def made_up_result(**verdict: int) -> Result:
    """``watch-00`` is right from its second step on, ``watch-<1>`` wrong at its last; ``verdict`` changes counts."""
    sent = Sent([0, 1] * 3, [0, 0, 1, 1, 2, 2], [1, 1, 2, 2, 3, 3], [0.0, 0.1, 1.0, 1.1, 2.0, 2.1])
    labels = ["running", "running", "standing", "running", "standing", "standing"]
    keys = [KEYS[stream] for stream in sent.streams]
    seen = Seen(
        keys, list(sent.timestamps_ms), [made_up_value(label) for label in labels], [0.2, 0.2, 1.2, 1.2, 3.0, 3.0]
    )
    moments = Moments(killed_s=1.5, restarted_s=1.7, ready_s=2.8, streams_restored=2)
    figure = GateFigure(max_abs_error=6.5e-7, bound=1e-6, steps=256, batch=8)
    bits = BitStability(engine="made up", holds=True, batches=(1, 33), chunks=(1, 17), max_abs_error=0.0)
    report = GateReport(parity=figure, isolation=figure, chunking=figure, bit_stability=bits)
    exact = Verdict(records_in=6, outputs=6, lost=0, doubled=0, out_of_order=0, different=0, unknown=0)
    return Result(
        place=Place("sqlite:store", "kafka-python", "in", "out", "group"),
        made=Made(1.0, 0.6, 32, 8.0, 42710, 256, report, report),
        served=Served(sent, seen, moments, 0.05, 0),
        predictions=collect_predictions(KEYS, ["standing", "running"], LABELS, sent, seen),
        verdict=replace(exact, **verdict),
        recovery=recover(sent.at_s, seen.at_s, moments),
        latency_ms=31.5,
        commands=(("train", "edge-rnn train activity -o out/<run>"),),
        total_s=24.0,
    )
