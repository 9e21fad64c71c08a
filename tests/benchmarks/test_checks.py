"""The benchmark's own checks find what is wrong, and its report goes into the pages."""

from __future__ import annotations

import numpy as np
import pytest

from tests.benchmarks.check import check_values
from tests.benchmarks.peers.model import Batched, Model
from tests.benchmarks.profile import sum_parts
from tests.benchmarks.report import rewrite, table
from tests.benchmarks.scale import Fleet, Measured, simulate, sizes
from tests.benchmarks.site import Ratio
from tests.benchmarks.workload import Workload
from tests.models_for_tests import make_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("bench") / "lstm", outputs=1).path


@pytest.fixture(scope="module")
def rows():
    return np.random.default_rng(0).standard_normal((40, 3)).astype(np.float32)


def outputs(bundle, rows) -> list[bytes]:
    model = Model(str(bundle / "step.onnx"))
    y, *_ = model(rows[:, None], [np.zeros((1, 1, width), np.float32) for width in model.widths])
    return [row.tobytes() for row in y[:, 0]]


def test_outputs_of_the_model_pass(bundle, rows):
    check_values(bundle, b"s", rows, outputs(bundle, rows), json_out=False)


@pytest.mark.parametrize("damage", ["state lost", "order", "missing"])
def test_outputs_that_are_wrong_do_not_pass(bundle, rows, damage):
    values = outputs(bundle, rows)
    if damage == "state lost":
        values[20:] = outputs(bundle, rows[20:])
    elif damage == "order":
        values[3], values[4] = values[4], values[3]
    else:
        values.pop()
    with pytest.raises(AssertionError):
        check_values(bundle, b"s", rows, values, json_out=False)


def test_the_experts_loop_gives_what_the_model_gives_for_each_stream(bundle, rows):
    batched, found = Batched(str(bundle / "step.onnx")), {b"a": [], b"b": []}
    entries = [(b"ab"[i % 2 : i % 2 + 1], rows[i].tobytes()) for i in range(40)]
    for begin in range(0, 40, 7):
        for key, value in batched(entries[begin : begin + 7]):
            found[key].append(value)
    for first, key in enumerate((b"a", b"b")):
        check_values(bundle, key, rows[first::2], found[key], json_out=False)


def test_zipf_draws_streams_in_proportion_to_one_over_their_rank():
    counts = np.bincount(Workload(100, 200_000, "zipf").numbers(), minlength=100)
    assert counts[0] / counts[9] == pytest.approx(10, rel=0.1)


def test_a_ratio_holds_by_its_direction_and_form():
    assert Ratio("rate", 1.3, 1.2).holds(quick=False)
    assert not Ratio("rate", 1.1, 1.2).holds(quick=False)
    assert Ratio("rate", 1.1, 1.2, quick_target=1.0).holds(quick=True)
    assert not Ratio("latency", 1.3, 1.2, better="less").holds(quick=False)


def report() -> dict[str, object]:
    ratio = Ratio("a ratio", 0.5, 1.0)
    return {
        "form": "full", "began": "today", "seconds": 60, "skipped": {"a case": "why\nmore"}, "figures": {},
        "machine": {"cores": 2, "processor": "one", "onnxruntime": "1"},
        "ratios": [{"name": ratio.name, "reached": 0.5, "asked": 1.0, "target": 1.0, "better": "more", "unit": "x",
                    "note": "", "holds": False}],
    }  # fmt: skip


def test_table_says_what_was_missed_and_what_was_not_run():
    text = table(report())
    assert "| a ratio | ≥ 1.00 | 0.50 | **missed** |" in text
    assert "Not run: a case: why" in text


def test_page_gets_its_tables_and_keeps_those_whose_case_did_not_run():
    page = "a\n<!-- bench: ratios -->\nold\n<!-- bench end -->\nb\n<!-- bench: million -->\nkept\n<!-- bench end -->\n"
    found = rewrite(page, report())
    assert "old" not in found
    assert "a ratio" in found
    assert "\nkept\n" in found


MEASURED = Measured(10e-6, 5e-6, 2e-3, 1e-4, 8e-6, 1e5, 1e5, 2300.0, 5e-3)


def test_a_fleet_of_twice_the_commits_has_twice_the_transactions():
    slow, quick = (sizes(Fleet(commit_s=seconds), MEASURED) for seconds in (0.2, 0.1))
    name = "transactions at the coordinators"
    assert quick[name][0] == pytest.approx(2 * slow[name][0])
    assert quick["state topic, live"] == slow["state topic, live"]


def test_simulated_horizon_is_the_interval_where_the_budget_is_enough_and_longer_where_it_is_not():
    fleet = Fleet()
    enough = simulate(fleet, MEASURED, "uniform", 1e7)
    assert enough.replay_s == pytest.approx(fleet.interval_s, rel=0.15)
    scarce = simulate(fleet, Measured(*(10e-6, 5e-6, 2e-3, 1e-4, 8e-2, 1e5, 1e5, 2300.0, 5e-3)), "uniform", 1e7)
    assert scarce.replay_s > 2 * fleet.interval_s


def test_samples_go_to_the_innermost_part_of_ours():
    lines = [
        "main (/x/runtime/daemon/daemon.py:1);run (/x/runtime/engines/cpu.py:1);call (/x/edge_rnn/contract/stepgraph.py:9) 5",
        "main (/x/runtime/daemon/daemon.py:1);produce (/x/runtime/transports/confluent_produce.py:3);c (/y/lib/z.py:1) 2",
        "thread (/usr/lib/threading.py:1) 1",
    ]
    assert sum_parts(lines) == {"model": 5, "transport": 2, "other": 1}
