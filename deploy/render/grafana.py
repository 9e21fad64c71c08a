"""A Grafana dashboard of the daemon's metrics: throughput, lag, latency, the model's calls, commits, recovery."""

from __future__ import annotations

import json
from typing import Any

_BY = "sum by (instance)"
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}

PANELS: tuple[tuple[str, str, tuple[tuple[str, str], ...]], ...] = (
    (
        "Records a second",
        "ops",
        (
            (f"{_BY} (rate(edge_rnn_records_in_total{{%s}}[$__rate_interval]))", "{{instance}} in"),
            (f"{_BY} (rate(edge_rnn_records_committed_total{{%s}}[$__rate_interval]))", "{{instance}} committed"),
        ),
    ),
    ("Records behind", "short", ((f"{_BY} (edge_rnn_lag_records{{%s}})", "{{instance}}"),)),
    (
        "Latency, from a record's time to its output",
        "s",
        (
            (
                "histogram_quantile(0.5, sum by (le) (rate(edge_rnn_latency_seconds_bucket{%s}[$__rate_interval])))",
                "median",
            ),
            (
                "histogram_quantile(0.99, sum by (le) (rate(edge_rnn_latency_seconds_bucket{%s}[$__rate_interval])))",
                "99%",
            ),
        ),
    ),
    (
        "Time of a model call",
        "s",
        (
            (
                "rate(edge_rnn_call_seconds_sum{%s}[$__rate_interval])"
                " / rate(edge_rnn_call_seconds_count{%s}[$__rate_interval])",
                "{{instance}}",
            ),
        ),
    ),
    (
        "Streams in a call",
        "short",
        (
            (
                "rate(edge_rnn_call_streams_sum{%s}[$__rate_interval])"
                " / rate(edge_rnn_call_streams_count{%s}[$__rate_interval])",
                "{{instance}}",
            ),
        ),
    ),
    ("Streams that have a state", "short", ((f"{_BY} (edge_rnn_streams{{%s}})", "{{instance}}"),)),
    (
        "Dead letters a minute",
        "short",
        ((f"60 * {_BY} (rate(edge_rnn_dead_letters_total{{%s}}[$__rate_interval]))", "{{instance}}"),),
    ),
    (
        "Time of a commit",
        "s",
        (
            (
                "histogram_quantile(0.99, sum by (le) (rate(edge_rnn_commit_seconds_bucket{%s}[$__rate_interval])))",
                "99%",
            ),
        ),
    ),
    ("Records that a crash would replay", "short", (("edge_rnn_replay_horizon_records{%s}", "{{instance}}"),)),
    (
        "Epochs that failed, partitions brought back",
        "short",
        (
            (f"{_BY} (increase(edge_rnn_failed_epochs_total{{%s}}[$__rate_interval]))", "{{instance}} failed"),
            (f"{_BY} (increase(edge_rnn_restores_total{{%s}}[$__rate_interval]))", "{{instance}} brought back"),
        ),
    ),
)
_SELECTOR = 'job=~"$job",instance=~"$instance"'


def dashboard() -> str:
    """The dashboard as JSON, to import or to provision."""
    panels = [_panel(number, *panel) for number, panel in enumerate(PANELS)]
    document = {
        "uid": "edge-rnn",
        "title": "edge-rnn",
        "tags": ["edge-rnn"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {
            "list": [
                _datasource(),
                _variable("job", "label_values(edge_rnn_commits_total, job)"),
                _variable("instance", 'label_values(edge_rnn_commits_total{job=~"$job"}, instance)'),
            ]
        },
        "panels": panels,
    }
    return json.dumps(document, indent=1) + "\n"


def _panel(number: int, title: str, unit: str, queries: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": title,
        "datasource": dict(_SOURCE),
        "gridPos": {"h": 8, "w": 12, "x": 12 * (number % 2), "y": 8 * (number // 2)},
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": [
            {
                "refId": chr(65 + i),
                "datasource": dict(_SOURCE),
                "expr": text.replace("%s", _SELECTOR),
                "legendFormat": name,
            }
            for i, (text, name) in enumerate(queries)
        ],
    }


def _datasource() -> dict[str, Any]:
    return {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}


def _variable(name: str, query: str) -> dict[str, Any]:
    return {
        "name": name,
        "label": name,
        "type": "query",
        "datasource": dict(_SOURCE),
        "query": {"query": query, "refId": name},
        "includeAll": True,
        "multi": True,
        "refresh": 2,
    }
