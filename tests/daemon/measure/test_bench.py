"""``edge-rnn bench`` on a small bundle: its figures are of what really ran."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from xml.etree import ElementTree

import pytest

from edge_rnn.contract.golden import load_golden
from runtime.daemon.measure.examples import example_inputs, example_values
from runtime.daemon.measure.stages import stages
from runtime.daemon.measure.transport import consume_and_produce, filled_place
from tests.models_for_tests import make_bundle


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("bench") / "small")


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edge_rnn.cli", "bench", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ})


@pytest.mark.slow
def test_bench_writes_json_text_and_a_picture_and_names_what_limits(small, tmp_path):
    done = run(small.path, "--records", 2000, "--streams", 50, "--json", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report == json.loads((tmp_path / "bench.json").read_text())
    assert report["end_to_end"]["records"] == report["transport"]["records"] == 2000
    assert {codec["codec"] for codec in report["codecs"]} == {"json", "f32"}
    assert {advice["setting"] for advice in report["advice"]} == {"--threads", "--max-chunk", "batch", "--workers"}
    costs = report["costs_us"]
    assert report["limit"]["total_us"] == pytest.approx(sum(costs.values()))
    text = (tmp_path / "bench.txt").read_text()
    assert f"what limits: {report['limit']['stage']}" in text
    assert ElementTree.fromstring((tmp_path / "bench.svg").read_text()).tag.endswith("svg")


def test_bench_of_no_bundle_says_so_in_a_line(tmp_path):
    done = run(tmp_path / "none")
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1


def test_stages_of_a_record_add_up_to_what_the_processor_takes(small):
    found = stages(small, "json", streams=100, records=256, seconds=0.2)
    parts = (found.decode_us, found.streams_us, found.model_us, found.encode_us)
    assert all(part > 0 for part in parts)
    assert found.total_us == pytest.approx(sum(parts))
    assert 0 < found.moving_us < found.model_us


def test_transport_without_a_model_takes_every_record_to_the_output(small):
    taken = []

    def answer(batch):
        taken.extend(batch.keys)
        return [b"1"] * len(batch)

    with filled_place(None, "kafka-python", example_values(small, "json", 16), 1500, 30) as place:
        figures = consume_and_produce(place, answer)
    assert len(taken) == figures.records == 1500
    assert len(set(taken)) == 30
    assert figures.events_per_s > 0


def test_example_inputs_are_the_golden_vectors_over_and_over(small):
    (found,) = example_inputs(small, 8, 100)
    golden = load_golden(small).inputs[0].reshape(-1, 3)
    assert (found.reshape(-1, 3)[: len(golden)] == golden).all()
    assert (found.reshape(-1, 3)[len(golden)] == golden[0]).all()
