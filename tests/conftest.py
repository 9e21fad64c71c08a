"""Fixtures of the whole suite: a real broker, started once; and a count of the conformance tests by transport."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.kafka.broker import KafkaUnavailable, RunningKafka


@pytest.fixture(scope="session")
def running_kafka() -> Iterator[RunningKafka]:
    """A broker for the whole session; don't stop it (start another `RunningKafka` for that)."""
    try:
        kafka = RunningKafka()
    except KafkaUnavailable as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no Kafka: {error}")
    with kafka:
        yield kafka


@pytest.fixture(scope="session")
def kafka_broker(running_kafka: RunningKafka) -> str:
    """``HOST:PORT`` of a real Kafka broker; topics and groups need names of their own."""
    return running_kafka.bootstrap


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    counts: Counter[tuple[str, str]] = Counter()
    for outcome in ("passed", "failed", "skipped"):
        for report in terminalreporter.getreports(outcome):
            found = re.search(r"test_conformance\.py::.*\[([\w-]+)", report.nodeid)
            if found and (report.when == "call" or outcome != "passed"):
                counts[found[1], outcome] += 1
    for transport in sorted({transport for transport, _ in counts}):
        told = ", ".join(f"{count} {outcome}" for (name, outcome), count in counts.items() if name == transport)
        terminalreporter.write_line(f"conformance of {transport}: {told}")
