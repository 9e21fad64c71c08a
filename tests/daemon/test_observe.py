"""What a monitor sees: metrics, health, readiness, logs."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request

import numpy as np

from runtime.observe.logs import Sparse
from tests.daemon.processes import DaemonProcess, wait_for


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def metric(text: str, name: str) -> float:
    found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    assert found, f"{name} is not in the metrics"
    return float(found[1])


def test_metrics_health_and_readiness_tell_what_was_done(embedded, bundle, tmp_path):
    good = np.ones(3, "<f4").tobytes()
    records = [(i % 4, b"s%d" % (i % 10), good) for i in range(100)]
    embedded.feed([*records, (0, b"s0", b"bad"), (1, None, good)])
    daemon = DaemonProcess(
        embedded.arguments(bundle, "--http", "127.0.0.1:0", "--log-format", "json"), tmp_path / "log"
    )
    try:
        wait_for(lambda: len(embedded.read()) == 100, f"outputs; {daemon.text()}")
        logs = [json.loads(line) for line in daemon.text().splitlines()]
        base = f"http://127.0.0.1:{next(line['port'] for line in logs if line['event'] == 'observing')}"
        wait_for(lambda: metric(get(f"{base}/metrics")[1], "edge_rnn_records_committed_total") == 102, "metrics")
        wait_for(lambda: metric(get(f"{base}/metrics")[1], "edge_rnn_streams") == 20, "the gauges")
        assert get(f"{base}/readyz") == (200, "ok\n")
        assert get(f"{base}/healthz") == (200, "ok\n")
        assert get(f"{base}/other")[0] == 404
        _, text = get(f"{base}/metrics")
        assert daemon.stop() == 0
    finally:
        daemon.close()
    assert metric(text, "edge_rnn_records_in_total") == 102
    assert metric(text, "edge_rnn_records_out_total") == 100
    assert metric(text, "edge_rnn_dead_letters_total") == 2
    assert metric(text, "edge_rnn_steps_total") == 100
    assert metric(text, "edge_rnn_streams") == 20
    assert metric(text, 'edge_rnn_lag_records{partition="0"}') == 0
    assert metric(text, "edge_rnn_restores_total") == 4
    assert metric(text, "edge_rnn_commits_total") >= 1
    for histogram in ("call_streams", "call_steps", "call_seconds", "commit_seconds", "latency_seconds"):
        assert metric(text, f"edge_rnn_{histogram}_count") >= 1
    assert len(embedded.read("dead")) == 2
    events = [json.loads(line)["event"] for line in daemon.text().splitlines()]
    assert events.count("partition ready") == 4
    assert events[-1] == "stopped"


def test_http_address_that_is_taken_ends_with_status_2(embedded, bundle, tmp_path):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        daemon = DaemonProcess(
            embedded.arguments(bundle, "--http", f"127.0.0.1:{taken.getsockname()[1]}"), tmp_path / "log"
        )
        try:
            assert daemon.wait() == 2
        finally:
            daemon.close()
    assert "--http" in daemon.text()


def test_messages_of_a_client_come_once_in_a_while_and_all_others_always():
    import logging

    sparse = Sparse("kafka")

    def passes(name: str, line: int, created: float) -> bool:
        record = logging.LogRecord(name, logging.WARNING, "client.py", line, "gone", None, None)
        record.created = created
        return sparse.filter(record)

    assert passes("kafka.net", 1, 100.0)
    assert not passes("kafka.net", 1, 105.0)
    assert passes("kafka.net", 2, 105.0)
    assert passes("kafka.net", 1, 111.0)
    assert passes("edge_rnn.daemon", 1, 100.0)
    assert passes("edge_rnn.daemon", 1, 100.1)
