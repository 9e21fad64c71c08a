"""Throughput, backlog and recovery from given moments; predictions put where they belong."""

from __future__ import annotations

import numpy as np
import pytest

from edge_rnn.demo.predictions import MISSING, collect_predictions
from edge_rnn.demo.records import Seen, Sent
from edge_rnn.demo.timeline import Moments, backlog, median_latency_ms, recover, throughput
from tests.demo.made_up import KEYS, LABELS, made_up_result, made_up_value


def test_throughput_when_binned_then_no_record_is_missing():
    rates = throughput([0.0, 0.1, 0.3, 0.99, 1.0], 1.0, 0.25)
    assert rates.tolist() == [8.0, 4.0, 0.0, 8.0]


def test_backlog_when_records_go_in_and_out_then_counts_what_waits():
    times, waiting = backlog([0.0, 1.0, 1.0], [0.5, 2.0, 2.0])
    assert times.tolist() == [0.0, 0.5, 1.0, 2.0]
    assert waiting.tolist() == [1, 0, 2, 0]


def test_recover_when_the_backlog_is_worked_off_then_says_when_and_how_much():
    sent = [0.1 * n for n in range(40)]
    seen = [at + 0.05 for at in sent[:20]] + [3.0] * 5 + [3.5] * 5 + [at + 0.55 for at in sent[30:]]
    recovery = recover(sent, seen, Moments(2.0, 2.2, 2.9, 40))
    assert recovery.first_output_s == 3.0
    assert recovery.most_backlog == 10
    assert recovery.caught_up_s is not None
    assert recovery.caught_up_s > 3.0


def test_recover_when_no_output_follows_then_none():
    recovery = recover([0.0, 1.0, 2.0], [0.1], Moments(0.5, 0.6, 0.9, 0))
    assert recovery.first_output_s is None
    assert recovery.caught_up_s is None
    assert recovery.most_backlog == 2


def test_predictions_when_an_output_is_missing_or_strange_then_its_step_stays_empty():
    sent = Sent([0, 1, 0, 1], [0, 0, 1, 1], [10, 10, 20, 20], [0.0, 0.0, 1.0, 1.0])
    seen = Seen([KEYS[0], KEYS[1], "other"], [20, 10, 10], [made_up_value("running")] * 3, [2.0, 2.0, 2.0])
    found = collect_predictions(KEYS, ["standing", "running"], LABELS, sent, seen)
    assert found.said.tolist() == [[MISSING, 1], [1, MISSING]]
    assert np.isnan(found.scores[0, 0]).all()
    assert found.scores[0, 1].tolist() == pytest.approx([0.1, 0.9])
    assert found.accuracy_along.tolist() == [0.5, 0.0]


def test_latency_when_outputs_are_seen_later_then_the_median_in_milliseconds():
    sent = Sent([0, 0, 0], [0, 1, 2], [1, 2, 3], [0.0, 1.0, 2.0])
    seen = Seen([KEYS[0]] * 3, [1, 2, 3], [None] * 3, [0.010, 1.020, 2.900])
    assert median_latency_ms(KEYS, sent, seen) == pytest.approx(20.0)


def test_figures_of_a_result_hold_what_a_script_asks_for():
    figures = made_up_result().figures()
    assert figures["accuracy"] == 0.5
    assert figures["lost"] == figures["doubled"] == 0
    assert figures["recovery_s"] == pytest.approx(1.5)
