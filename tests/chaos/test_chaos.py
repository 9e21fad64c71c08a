"""Exactly-once under faults, at a size for CI; `make soak` runs the same for half an hour."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.chaos.driver import ChaosSettings, run
from tests.chaos.faults import FAIL_POINTS, KINDS, deck, draw
from tests.chaos.network import why_no_network
from tests.chaos.report import Report
from tests.kafka.broker import KafkaUnavailable


def judged(settings: ChaosSettings, least_faults: int) -> Report:
    try:
        report = run(settings)
    except KafkaUnavailable as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no Kafka: {error}")
    print(report.table())
    assert report.passed, report.table()
    assert sum(report.fired.values()) >= least_faults, report.table()
    return report


@pytest.mark.slow
@pytest.mark.timeout(480)
def test_chaos_when_the_embedded_store_and_its_daemon_are_broken_then_nothing_is_lost_or_doubled(
    tmp_path: Path,
) -> None:
    judged(ChaosSettings(transport="sqlite", seconds=20, faults=12, seed=2, logs=tmp_path), 3)


@pytest.mark.parametrize(("transport", "seconds"), [("confluent", 40), ("kafka-python", 30)])
@pytest.mark.kafka
@pytest.mark.chaos
@pytest.mark.timeout(480)
def test_chaos_when_members_and_broker_are_broken_then_nothing_is_lost_or_doubled(
    transport: str, seconds: float, tmp_path: Path
) -> None:
    judged(ChaosSettings(transport=transport, seconds=seconds, faults=15, seed=3, logs=tmp_path), 5)  # type: ignore[arg-type]


def test_faults_when_drawn_from_one_seed_then_they_are_the_same() -> None:
    kinds = deck("confluent", 1, network=True, disk=False)
    assert draw(5, 40, kinds, 2, 1) == draw(5, 40, kinds, 2, 1)
    assert draw(5, 40, kinds, 2, 1) != draw(6, 40, kinds, 2, 1)


def test_faults_when_as_many_as_the_deck_then_every_kind_and_every_fail_point_comes() -> None:
    kinds = {*deck("confluent", 1, network=True, disk=True), *deck("confluent", 3, network=True, disk=True)}
    kinds |= set(deck("sqlite", 1, network=False, disk=True))
    assert {kind.partition(":")[0] for kind in kinds} == set(KINDS)
    assert {kind.partition(":")[2] for kind in kinds} == {*FAIL_POINTS, ""}
    one = deck("confluent", 3, network=True, disk=False)
    assert {f"{f.kind}:{f.point}".rstrip(":") for f in draw(1, len(one), one, 2, 3)} == set(one)


@pytest.mark.kafka
@pytest.mark.chaos
@pytest.mark.timeout(480)
def test_chaos_when_hosts_are_cut_off_then_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    reason = why_no_network()
    if reason:
        pytest.skip(reason)
    settings = ChaosSettings(seconds=25, faults=4, seed=1, network=True, kinds=("cut", "cut-long"), logs=tmp_path)
    judged(settings, 1)
