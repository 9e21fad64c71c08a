"""When a model may take over, and when a wave passes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.fleet.inventory import Gates
from deploy.rollout.gates import Measured, Shadow, enough, judge_daemon, judge_shadow, read_metrics, read_shadow
from deploy.rollout.outcome import Outcome, judge_wave
from edge_rnn.contract.errors import DeployError
from runtime.observe.metrics import Metrics

GOOD = {"compared": 5000, "same_class": 0.999, "close": 0.5, "step_seconds": 1e-5}
OLD = Measured(step_s=1e-5)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"same_class": 0.9}, "labels are equal in 90.0%"),
        ({"compared": 10}, "only 10 outputs were compared"),
        ({"dead_letters": 1}, "refuses 1 records (not finite"),
        ({"unreadable": 2}, "another shape"),
        ({"step_seconds": 2e-5}, "2.0 times as long"),
        ({"only_theirs": 200}, "200 outputs have no counterpart"),
        ({"lag": 20_000}, "20000 records behind"),
        ({"same_class": None, "close": 0.5}, "50.0% of outputs are within 0.1"),
        ({"same_class": None, "close": None}, "0.0% of outputs"),
    ],
)
def test_shadow_that_is_worse_is_refused_with_the_reason(changes, said):
    found = judge_shadow(Gates(), Shadow(**{**GOOD, **changes}), OLD)
    assert len(found) == 1, found
    assert said in found[0]


def test_shadow_that_is_as_good_may_be_promoted():
    assert judge_shadow(Gates(), Shadow(**GOOD), OLD) == []
    assert judge_shadow(Gates(), Shadow(**GOOD), None) == []


def test_shadow_that_refuses_records_needs_no_more_of_them():
    assert enough(Gates(), Shadow(compared=3, dead_letters=1))
    assert len(judge_shadow(Gates(), Shadow(compared=3, dead_letters=1), OLD)) == 1
    assert not enough(Gates(), Shadow(compared=3))


def test_metrics_of_a_daemon_are_read_from_what_it_serves():
    metrics = Metrics()
    metrics.applied(7, 7, 2, 40)
    metrics.called(4, 10, 0.002)
    metrics.observed({0: 3, 1: 4}, 5, 0)
    found = read_metrics(metrics.render().decode())
    assert (found.records, found.dead_letters, found.lag) == (7, 2, 7)
    assert found.step_s == pytest.approx(0.002 / 40)
    assert judge_daemon(Gates(), found, None) == ["the new model refused 2 records"]


def test_answer_that_is_no_report_is_told():
    with pytest.raises(DeployError, match="gave no report"):
        read_shadow("<html>")


@given(st.lists(st.sampled_from(["served", "unchanged", "pending", "lost", "failed"]), max_size=40))
def test_wave_passes_exactly_when_nothing_failed_and_few_were_lost(states):
    outcomes = [Outcome(f"d{i}", state) for i, state in enumerate(states)]
    tried = sum(state != "pending" for state in states)
    passes = "failed" not in states and states.count("lost") <= tried * 20 // 100
    assert (judge_wave(outcomes, "20%") == "") == passes
