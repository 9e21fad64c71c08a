"""Alerts for Prometheus on the daemon's metrics."""

from __future__ import annotations

from dataclasses import dataclass

import yaml


@dataclass(frozen=True)
class Alert:
    """One alert. ``after``: how long the expression must hold."""

    name: str
    expression: str
    after: str
    severity: str
    summary: str
    what_to_do: str


ALERTS = (
    Alert(
        "EdgeRnnDown",
        'up{job=~"edge-rnn.*"} == 0',
        "2m",
        "critical",
        "{{ $labels.instance }} does not answer",
        "edge-rnn deploy status; edge-rnn deploy logs",
    ),
    Alert(
        "EdgeRnnLagGrows",
        "sum by (instance, job) (edge_rnn_lag_records) > 10000"
        " and sum by (instance, job) (delta(edge_rnn_lag_records[10m])) > 0",
        "10m",
        "warning",
        "{{ $labels.instance }} is {{ $value | humanize }} records behind and falls further behind",
        "add members, or look at edge_rnn_call_seconds",
    ),
    Alert(
        "EdgeRnnStalled",
        "rate(edge_rnn_commits_total[5m]) == 0 and on (instance, job) sum by (instance, job) (edge_rnn_lag_records) > 0",
        "5m",
        "critical",
        "{{ $labels.instance }} has records to read and commits nothing",
        "look at its log for the broker's answer",
    ),
    Alert(
        "EdgeRnnDeadLetters",
        "rate(edge_rnn_dead_letters_total[10m]) > 0.01 * rate(edge_rnn_records_in_total[10m])",
        "10m",
        "warning",
        "more than 1% of the records of {{ $labels.instance }} cannot be used",
        "read the reasons in the headers of the dead-letter topic",
    ),
    Alert(
        "EdgeRnnFailedEpochs",
        "increase(edge_rnn_failed_epochs_total[15m]) > 5",
        "0m",
        "warning",
        "{{ $labels.instance }} drops and repeats epochs",
        "look at its log; the broker may abort transactions",
    ),
    Alert(
        "EdgeRnnReplayHorizon",
        "edge_rnn_replay_horizon_records > 5e6",
        "30m",
        "warning",
        "a crash of {{ $labels.instance }} would replay {{ $value | humanize }} records",
        "shorten --snapshot-interval or raise --snapshot-budget",
    ),
    Alert(
        "EdgeRnnSlow",
        "histogram_quantile(0.99, sum by (instance, job, le) (rate(edge_rnn_latency_seconds_bucket[5m]))) > 5",
        "10m",
        "warning",
        "99% of the outputs of {{ $labels.instance }} take up to {{ $value | humanizeDuration }}",
        "look at lag and at edge_rnn_commit_seconds",
    ),
)


def alerts() -> str:
    """A rules file."""
    rules = [
        {
            "alert": alert.name,
            "expr": alert.expression,
            "for": alert.after,
            "labels": {"severity": alert.severity},
            "annotations": {"summary": alert.summary, "action": alert.what_to_do},
        }
        for alert in ALERTS
    ]
    return yaml.safe_dump({"groups": [{"name": "edge-rnn", "rules": rules}]}, sort_keys=False, width=120)
